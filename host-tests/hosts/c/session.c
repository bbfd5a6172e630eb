/* A host of the world `session-sync` on wasmtime's C API.
 *
 *     session COMPONENT          creates, validates and revokes a session
 *     session COMPONENT CALLS    measures this many calls of `validate`
 *
 * What the component imports is defined by callbacks: a guard that keeps its tokens in a table, the
 * clock and the random bytes of the machine. What it exports is called by `create`, `validate`,
 * `revoke` and `active_count`. One thread at a time may use a `struct host`.
 */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <wasmtime.h>
#include <wasmtime/component.h>

#define GUARD "clawdb:session-sync/guard@0.1.0"
#define SESSIONS "clawdb:session-sync/sessions@0.1.0"

/* The memory that the instance may take: more than the default of `max-state-bytes`, 2 GiB, because
 * an instance that needs more than this limit traps. */
#define MAX_MEMORY (INT64_C(7) << 29)

enum {
    ID_BYTES = 36,
    ROLE_BYTES = 64,
    TOKEN_BYTES = 8192,
    /* The maximum number of random bytes in one answer. The component asks again for more. */
    MAX_RANDOM_BYTES = 4096,
};

/* Returns the time of a clock in nanoseconds, or 0 if it cannot be read. */
static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0 || now.tv_sec < 0) {
        return 0;
    }
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Returns the milliseconds since 1970, the unit of the contract. */
static uint64_t now_millis(void) {
    return read_clock(CLOCK_REALTIME) / UINT64_C(1000000);
}

/* Fills a buffer with random bytes. Returns whether the machine gave them. */
static bool fill_random(void *bytes, size_t size) {
    unsigned char *rest = bytes;
    while (size > 0) {
        ssize_t got = getrandom(rest, size, 0);
        if (got > 0) {
            rest += got;
            size -= (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* --- Values of the component model ---------------------------------------------------------------
 *
 * wasmtime allocates and frees what a value contains. The functions that make a value move their
 * arguments into it, so only the outermost value is deleted. */

typedef wasmtime_component_val_t value;

/* A value that contains no memory. A slot for a result holds it before a call, because wasmtime
 * frees what the slot contains when it writes the result. */
static const value EMPTY = {.kind = WASMTIME_COMPONENT_BOOL, .of = {.boolean = false}};

struct field {
    const char *name;
    value value;
};

static value u64_value(uint64_t number) {
    return (value){.kind = WASMTIME_COMPONENT_U64, .of = {.u64 = number}};
}

static value text_value_of_size(const char *text, size_t size) {
    value made = {.kind = WASMTIME_COMPONENT_STRING};
    wasm_name_new(&made.of.string, size, text);
    return made;
}

static value text_value(const char *text) {
    return text_value_of_size(text, strlen(text));
}

static value list_value(size_t size) {
    value made = {.kind = WASMTIME_COMPONENT_LIST};
    wasmtime_component_vallist_new_uninit(&made.of.list, size);
    return made;
}

/* The fields must be in the order of the WIT. */
static value record_value(size_t size, const struct field *fields) {
    value made = {.kind = WASMTIME_COMPONENT_RECORD};
    wasmtime_component_valrecord_new_uninit(&made.of.record, size);
    for (size_t i = 0; i < size; i++) {
        wasm_name_new_from_string(&made.of.record.data[i].name, fields[i].name);
        made.of.record.data[i].val = fields[i].value;
    }
    return made;
}

static value none(void) {
    return (value){.kind = WASMTIME_COMPONENT_OPTION, .of = {.option = NULL}};
}

static value some(value content) {
    value *moved = wasmtime_component_val_new(&content);
    return (value){.kind = WASMTIME_COMPONENT_OPTION, .of = {.option = moved}};
}

static value ok_value(value content) {
    value *moved = wasmtime_component_val_new(&content);
    return (value){.kind = WASMTIME_COMPONENT_RESULT, .of = {.result = {true, moved}}};
}

/* The value of `result<_, E>` that is not an error. */
static value ok_without_value(void) {
    return (value){.kind = WASMTIME_COMPONENT_RESULT, .of = {.result = {true, NULL}}};
}

/* An error of the guard as a result. The text is NULL for a case without text. */
static value guard_error(const char *kind, const char *text) {
    value error = {.kind = WASMTIME_COMPONENT_VARIANT};
    wasm_name_new_from_string(&error.of.variant.discriminant, kind);
    error.of.variant.val = NULL;
    if (text != NULL) {
        value content = text_value(text);
        error.of.variant.val = wasmtime_component_val_new(&content);
    }
    value *moved = wasmtime_component_val_new(&error);
    return (value){.kind = WASMTIME_COMPONENT_RESULT, .of = {.result = {false, moved}}};
}

/* Returns a field of a record, or NULL if there is none of this name and kind. */
static const value *field(const value *record, const char *name,
                          wasmtime_component_valkind_t kind) {
    if (record == NULL || record->kind != WASMTIME_COMPONENT_RECORD) {
        return NULL;
    }
    for (size_t i = 0; i < record->of.record.size; i++) {
        const wasmtime_component_valrecord_entry_t *entry = &record->of.record.data[i];
        if (entry->name.size == strlen(name) && memcmp(entry->name.data, name, strlen(name)) == 0) {
            return entry->val.kind == kind ? &entry->val : NULL;
        }
    }
    return NULL;
}

/* Copies a text into a buffer. Returns false if it does not fit or contains a zero byte. */
static bool copy_text(char *buffer, size_t size, const wasm_name_t *text) {
    if (text->size >= size || memchr(text->data, '\0', text->size) != NULL) {
        return false;
    }
    memcpy(buffer, text->data, text->size);
    buffer[text->size] = '\0';
    return true;
}

/* Copies the text of a record's field into a buffer. */
static bool copy_field(char *buffer, size_t size, const value *record, const char *name) {
    const value *text = field(record, name, WASMTIME_COMPONENT_STRING);
    return text != NULL && copy_text(buffer, size, &text->of.string);
}

/* --- The guard -----------------------------------------------------------------------------------
 *
 * A token is a serial number, a dot, and a secret of 32 random bytes in hexadecimal digits. The
 * serial number is the handle: it revokes the token and is of no other use. The guard answers from
 * memory, so it needs no deadline. One that asks a server must have one: while it waits, all calls
 * wait, `revoke` included.
 *
 * Every function returns a value, whatever happens. An error of wasmtime instead of a value would
 * end the instance with all its sessions. */

enum { TABLE_ROWS = 65536, SECRET_BYTES = 32, SECRET_DIGITS = 2 * SECRET_BYTES };

struct token_row {
    uint64_t serial; /* 0: the row was never used */
    uint64_t expires_at;
    bool revoked;
    char secret[SECRET_DIGITS];
};

struct guard {
    uint64_t last_serial;
    struct token_row rows[TABLE_ROWS]; /* the row of a token is its serial number modulo the size */
};

/* Returns the row of a handle, or NULL if the guard does not know it. */
static struct token_row *find_row(struct guard *guard, const char *handle, size_t size) {
    uint64_t serial = 0;
    if (size == 0 || size > 18 || handle[0] == '0') {
        return NULL;
    }
    for (size_t i = 0; i < size; i++) {
        if (handle[i] < '0' || handle[i] > '9') {
            return NULL;
        }
        serial = serial * 10 + (uint64_t)(handle[i] - '0');
    }
    struct token_row *row = &guard->rows[serial % TABLE_ROWS];
    return row->serial == serial ? row : NULL;
}

/* Returns a row whose token has expired or was revoked, with a new serial number. Returns NULL if
 * there is none, after looking at each row once. */
static struct token_row *take_row(struct guard *guard, uint64_t now) {
    for (int tries = 0; tries < TABLE_ROWS; tries++) {
        struct token_row *row = &guard->rows[++guard->last_serial % TABLE_ROWS];
        if (row->revoked || row->expires_at <= now) {
            *row = (struct token_row){.serial = guard->last_serial};
            return row;
        }
    }
    return NULL;
}

static value issue_session_token(struct guard *guard, const value *request) {
    const value *expires_at = field(request, "expires-at", WASMTIME_COMPONENT_U64);
    unsigned char secret[SECRET_BYTES];
    if (expires_at == NULL || !fill_random(secret, sizeof secret)) {
        return guard_error("unavailable", "no random bytes");
    }
    struct token_row *row = take_row(guard, now_millis());
    if (row == NULL) {
        return guard_error("unavailable", "the table of tokens is full");
    }
    row->expires_at = expires_at->of.u64;
    for (size_t i = 0; i < SECRET_BYTES; i++) {
        row->secret[2 * i] = "0123456789abcdef"[secret[i] >> 4];
        row->secret[2 * i + 1] = "0123456789abcdef"[secret[i] & 15];
    }
    char token[20 + 1 + SECRET_DIGITS + 1];
    int handle = snprintf(token, sizeof token, "%" PRIu64, row->serial);
    snprintf(token + handle, sizeof token - (size_t)handle, ".%.*s", SECRET_DIGITS, row->secret);
    const struct field issued[] = {
        {"token", text_value(token)},
        {"handle", text_value_of_size(token, (size_t)handle)},
        {"expires-at", *expires_at},
    };
    return ok_value(record_value(3, issued));
}

static value validate_token(struct guard *guard, const value *token) {
    const wasm_name_t *text = &token->of.string;
    const char *dot = memchr(text->data, '.', text->size);
    size_t handle = dot == NULL ? 0 : (size_t)(dot - text->data);
    const struct token_row *row = find_row(guard, text->data, handle);
    /* The component only asks about tokens that it has recognised by a keyed fingerprint. So nobody
     * can guess a secret by the time that this comparison takes. */
    if (row == NULL || text->size != handle + 1 + SECRET_DIGITS ||
        memcmp(row->secret, dot + 1, SECRET_DIGITS) != 0) {
        return guard_error("invalid-token", NULL);
    }
    if (row->revoked) {
        return guard_error("revoked", NULL);
    }
    if (row->expires_at <= now_millis()) {
        return guard_error("expired", NULL);
    }
    const struct field claims[] = {
        {"handle", text_value_of_size(text->data, handle)},
        {"expires-at", u64_value(row->expires_at)},
    };
    return ok_value(record_value(2, claims));
}

static value validate_tokens(struct guard *guard, const value *tokens) {
    value results = list_value(tokens->of.list.size);
    for (size_t i = 0; i < tokens->of.list.size; i++) {
        results.of.list.data[i] = validate_token(guard, &tokens->of.list.data[i]);
    }
    return results;
}

static value revoke_tokens(struct guard *guard, const value *handles) {
    value results = list_value(handles->of.list.size);
    for (size_t i = 0; i < handles->of.list.size; i++) {
        const wasm_name_t *handle = &handles->of.list.data[i].of.string;
        struct token_row *row = find_row(guard, handle->data, handle->size);
        if (row != NULL) {
            row->revoked = true;
        }
        results.of.list.data[i] =
            row != NULL ? ok_without_value() : guard_error("invalid-token", NULL);
    }
    return results;
}

/* --- The imports ------------------------------------------------------------------------------ */

/* Returns the time. The component counts a time before 2020 as a failed reading. */
static value wall_clock_now(struct guard *guard, const value *argument) {
    (void)guard;
    (void)argument;
    uint64_t now = read_clock(CLOCK_REALTIME);
    uint32_t nanoseconds = (uint32_t)(now % UINT64_C(1000000000));
    const struct field datetime[] = {
        {"seconds", u64_value(now / UINT64_C(1000000000))},
        {"nanoseconds", {.kind = WASMTIME_COMPONENT_U32, .of = {.u32 = nanoseconds}}},
    };
    return record_value(2, datetime);
}

/* Returns random bytes, fewer than requested if that is very many, and none if the source fails. */
static value get_random_bytes(struct guard *guard, const value *size) {
    (void)guard;
    unsigned char bytes[MAX_RANDOM_BYTES];
    size_t count = size->of.u64 < sizeof bytes ? (size_t)size->of.u64 : sizeof bytes;
    value list = list_value(fill_random(bytes, count) ? count : 0);
    for (size_t i = 0; i < list.of.list.size; i++) {
        list.of.list.data[i] = (value){.kind = WASMTIME_COMPONENT_U8, .of = {.u8 = bytes[i]}};
    }
    return list;
}

/* A function that the component imports. */
struct import {
    const char *interface;
    const char *name;
    size_t arguments; /* 0 or 1 */
    wasmtime_component_valkind_t kind; /* of the argument; the items of a list are strings */
    value (*answer)(struct guard *guard, const value *argument);
};

/* The component calls one function of each interface of WASI. */
static const struct import IMPORTS[] = {
    {GUARD, "issue-session-token", 1, WASMTIME_COMPONENT_RECORD, issue_session_token},
    {GUARD, "validate-token", 1, WASMTIME_COMPONENT_STRING, validate_token},
    {GUARD, "validate-tokens", 1, WASMTIME_COMPONENT_LIST, validate_tokens},
    {GUARD, "revoke-tokens", 1, WASMTIME_COMPONENT_LIST, revoke_tokens},
    {"wasi:clocks/wall-clock@0.2.0", "now", 0, 0, wall_clock_now},
    {"wasi:random/random@0.2.0", "get-random-bytes", 1, WASMTIME_COMPONENT_U64, get_random_bytes},
};

enum { IMPORT_COUNT = sizeof IMPORTS / sizeof IMPORTS[0] };

/* What a callback needs. */
struct binding {
    const struct import *import;
    struct guard *guard;
};

/* Returns whether an argument has the type that the function of an import reads. */
static bool has_kind(const value *argument, wasmtime_component_valkind_t kind) {
    if (argument->kind != kind) {
        return false;
    }
    for (size_t i = 0; kind == WASMTIME_COMPONENT_LIST && i < argument->of.list.size; i++) {
        if (argument->of.list.data[i].kind != WASMTIME_COMPONENT_STRING) {
            return false;
        }
    }
    return true;
}

/* Calls the function of an import. wasmtime frees the arguments and the result. */
static wasmtime_error_t *answer_import(void *data, wasmtime_context_t *context,
                                       const wasmtime_component_func_type_t *type, value *arguments,
                                       size_t argument_count, value *results, size_t result_count) {
    (void)context;
    (void)type;
    const struct binding *binding = data;
    const struct import *import = binding->import;
    if (argument_count != import->arguments || result_count != 1 ||
        (argument_count == 1 && !has_kind(&arguments[0], import->kind))) {
        return wasmtime_error_new("the component imports a function of another type");
    }
    results[0] = import->answer(binding->guard, arguments);
    return NULL;
}

/* --- The host --------------------------------------------------------------------------------- */

/* The functions that the host calls, in the order of `FUNCTION_NAMES`. */
enum function { CREATE, VALIDATE, REVOKE, ACTIVE_COUNT, FUNCTION_COUNT };

static const char *const FUNCTION_NAMES[] = {"create", "validate", "revoke", "active-count"};

/* An instance of the component, and what it needs. */
struct host {
    wasm_engine_t *engine;
    wasmtime_component_t *component;
    wasmtime_component_linker_t *linker;
    wasmtime_store_t *store;
    wasmtime_component_func_t functions[FUNCTION_COUNT];
    struct binding bindings[IMPORT_COUNT];
    struct guard guard;
    bool ended; /* a call has trapped: the sessions are lost */
};

/* Prints an error of wasmtime and frees it. Returns false if there is none. */
static bool failed(const char *step, wasmtime_error_t *error) {
    if (error == NULL) {
        return false;
    }
    wasm_name_t message;
    wasmtime_error_message(error, &message);
    fprintf(stderr, "%s: %.*s\n", step, (int)message.size, message.data);
    wasm_name_delete(&message);
    wasmtime_error_delete(error);
    return true;
}

/* Reads a file. Returns false if that fails. The caller deletes the bytes. */
static bool read_file(const char *path, wasm_byte_vec_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    long size = -1;
    if (fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
    }
    bool complete = false;
    if (size >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        wasm_byte_vec_new_uninitialized(bytes, (size_t)size);
        complete = fread(bytes->data, 1, (size_t)size, file) == (size_t)size;
        if (!complete) {
            wasm_byte_vec_delete(bytes);
        }
    }
    fclose(file);
    if (!complete) {
        fprintf(stderr, "%s: cannot be read\n", path);
    }
    return complete;
}

/* Defines the imports in the linker. */
static bool define_imports(struct host *host) {
    wasmtime_component_linker_instance_t *root = wasmtime_component_linker_root(host->linker);
    wasmtime_error_t *error = NULL;
    for (size_t i = 0; i < IMPORT_COUNT && error == NULL; i++) {
        const struct import *import = &IMPORTS[i];
        wasmtime_component_linker_instance_t *interface = NULL;
        error = wasmtime_component_linker_instance_add_instance(
            root, import->interface, strlen(import->interface), &interface);
        if (error == NULL) {
            host->bindings[i] = (struct binding){import, &host->guard};
            error = wasmtime_component_linker_instance_add_func(
                interface, import->name, strlen(import->name), answer_import, &host->bindings[i],
                NULL);
            wasmtime_component_linker_instance_delete(interface);
        }
    }
    wasmtime_component_linker_instance_delete(root);
    return !failed("the imports cannot be defined", error);
}

/* Looks the exported functions up. */
static bool find_functions(struct host *host, const wasmtime_component_instance_t *instance) {
    wasmtime_component_export_index_t *interface =
        wasmtime_component_get_export_index(host->component, NULL, SESSIONS, strlen(SESSIONS));
    bool found = interface != NULL;
    for (size_t i = 0; i < FUNCTION_COUNT && found; i++) {
        wasmtime_component_export_index_t *function = wasmtime_component_get_export_index(
            host->component, interface, FUNCTION_NAMES[i], strlen(FUNCTION_NAMES[i]));
        found = function != NULL &&
                wasmtime_component_instance_get_func(instance, wasmtime_store_context(host->store),
                                                     function, &host->functions[i]);
        if (function != NULL) {
            wasmtime_component_export_index_delete(function);
        }
    }
    if (interface != NULL) {
        wasmtime_component_export_index_delete(interface);
    }
    if (!found) {
        fprintf(stderr, "the component does not export %s\n", SESSIONS);
    }
    return found;
}

/* Frees the host. A part that was not made yet is NULL. */
static void close_host(struct host *host) {
    if (host == NULL) {
        return;
    }
    if (host->store != NULL) {
        wasmtime_store_delete(host->store);
    }
    if (host->linker != NULL) {
        wasmtime_component_linker_delete(host->linker);
    }
    if (host->component != NULL) {
        wasmtime_component_delete(host->component);
    }
    if (host->engine != NULL) {
        wasm_engine_delete(host->engine);
    }
    free(host);
}

/* Compiles the component and starts an instance. */
static bool start(struct host *host, const char *path) {
    wasm_config_t *config = wasm_config_new();
    /* The world has no `async func`. Without support for concurrency, a call takes less time. */
    wasmtime_config_concurrency_support_set(config, false);
    host->engine = wasm_engine_new_with_config(config);
    if (host->engine == NULL) {
        fprintf(stderr, "wasmtime does not support this machine\n");
        return false;
    }
    wasm_byte_vec_t bytes;
    if (!read_file(path, &bytes)) {
        return false;
    }
    wasmtime_error_t *error = wasmtime_component_new(host->engine, (const uint8_t *)bytes.data,
                                                     bytes.size, &host->component);
    wasm_byte_vec_delete(&bytes);
    if (failed(path, error)) {
        return false;
    }
    host->linker = wasmtime_component_linker_new(host->engine);
    if (!define_imports(host)) {
        return false;
    }
    host->store = wasmtime_store_new(host->engine, NULL, NULL);
    wasmtime_store_limiter(host->store, MAX_MEMORY, -1, -1, -1, -1);
    wasmtime_component_instance_t instance;
    error = wasmtime_component_linker_instantiate(
        host->linker, wasmtime_store_context(host->store), host->component, &instance);
    return !failed("the component cannot be started", error) && find_functions(host, &instance);
}

/* Starts a host of the component in a file. If that fails, prints the reason and returns NULL. */
static struct host *open_host(const char *path) {
    struct host *host = calloc(1, sizeof *host);
    if (host == NULL) {
        fprintf(stderr, "no memory\n");
        return NULL;
    }
    if (!start(host, path)) {
        close_host(host);
        return NULL;
    }
    return host;
}

/* --- The calls -------------------------------------------------------------------------------- */

/* How a call ended. */
enum outcome {
    ACCEPTED,
    REFUSED, /* the component returned an error, and the instance continues */
    ENDED,   /* the instance has trapped: it has no sessions any more, open another host */
};

/* An error of the component. */
struct refusal {
    char kind[40];    /* the case of the WIT's `error`, such as `invalid-token` */
    char detail[400]; /* the refused argument, the limit or the guard's error; empty if none */
};

struct session {
    char id[ID_BYTES + 1];
    char role[ROLE_BYTES + 1];
    uint64_t expires_at;
};

struct grant {
    struct session session;
    char token[TOKEN_BYTES + 1];
};

struct create_request {
    const char *agent_id;
    const char *role;
    size_t scope_count;
    const char *const *scopes;
    uint64_t expires_in; /* in seconds; 0 for the default */
};

/* Returns whether a text is valid UTF-8. wasmtime ends the process if a string is not. */
static bool is_utf8(const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        unsigned char first = (unsigned char)text[i];
        size_t more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        uint32_t character = more == 0 ? first : first & (0x3fu >> more);
        if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || size - i <= more) {
            return false;
        }
        for (size_t k = 1; k <= more; k++) {
            unsigned char next = (unsigned char)text[i + k];
            if ((next & 0xc0) != 0x80) {
                return false;
            }
            character = character << 6 | (next & 0x3f);
        }
        bool overlong = (more == 2 && character < 0x800) || (more == 3 && character < 0x10000);
        if (overlong || character > 0x10ffff || (character >= 0xd800 && character <= 0xdfff)) {
            return false;
        }
        i += more + 1;
    }
    return true;
}

/* Returns whether the host passes a text on. The component refuses texts that are too long as well,
 * but only after they were copied into its memory. */
static bool check_text(const char *name, const char *text, struct refusal *refusal) {
    size_t size = strlen(text);
    if (size <= TOKEN_BYTES && is_utf8(text, size)) {
        return true;
    }
    snprintf(refusal->kind, sizeof refusal->kind, "invalid-argument");
    snprintf(refusal->detail, sizeof refusal->detail, "%s", name);
    return false;
}

/* Reads an error of the component. Returns false if it has another shape. */
static bool read_refusal(const value *error, struct refusal *refusal) {
    *refusal = (struct refusal){.kind = ""};
    if (error == NULL || error->kind != WASMTIME_COMPONENT_VARIANT ||
        !copy_text(refusal->kind, sizeof refusal->kind, &error->of.variant.discriminant)) {
        return false;
    }
    const value *content = error->of.variant.val;
    const wasm_name_t *detail = NULL;
    if (content != NULL && content->kind == WASMTIME_COMPONENT_VARIANT) {
        detail = &content->of.variant.discriminant;
    } else if (content != NULL && content->kind == WASMTIME_COMPONENT_ENUM) {
        detail = &content->of.enumeration;
    } else if (content != NULL && content->kind == WASMTIME_COMPONENT_STRING) {
        detail = &content->of.string;
    } else if (field(content, "field", WASMTIME_COMPONENT_STRING) != NULL) {
        detail = &field(content, "field", WASMTIME_COMPONENT_STRING)->of.string;
    }
    return detail == NULL || copy_text(refusal->detail, sizeof refusal->detail, detail);
}

static bool read_session(const value *record, struct session *session) {
    const value *expires_at = field(record, "expires-at", WASMTIME_COMPONENT_U64);
    if (expires_at == NULL || !copy_field(session->id, sizeof session->id, record, "id") ||
        !copy_field(session->role, sizeof session->role, record, "role")) {
        return false;
    }
    session->expires_at = expires_at->of.u64;
    return true;
}

/* Ends the instance because of an answer that the contract does not know. */
static enum outcome unknown_answer(struct host *host, enum function function) {
    fprintf(stderr, "%s: the answer has another type\n", FUNCTION_NAMES[function]);
    host->ended = true;
    return ENDED;
}

/* Calls a function and frees the arguments. Unless the outcome is ENDED, the caller deletes the
 * answer. */
static enum outcome call(struct host *host, enum function function, value *arguments,
                         size_t argument_count, value *answer) {
    enum outcome outcome = ENDED;
    *answer = EMPTY;
    if (host->ended) {
        fprintf(stderr, "%s: the instance has ended\n", FUNCTION_NAMES[function]);
    } else if (failed(FUNCTION_NAMES[function],
                      wasmtime_component_func_call(&host->functions[function],
                                                   wasmtime_store_context(host->store), arguments,
                                                   argument_count, answer, 1))) {
        host->ended = true;
    } else {
        outcome = ACCEPTED;
    }
    for (size_t i = 0; i < argument_count; i++) {
        wasmtime_component_val_delete(&arguments[i]);
    }
    return outcome;
}

/* Calls a function that returns a result. If the outcome is ACCEPTED, the caller deletes the answer
 * and `content` is the value in it. */
static enum outcome call_for_result(struct host *host, enum function function, value *arguments,
                                    size_t argument_count, value *answer, const value **content,
                                    struct refusal *refusal) {
    enum outcome outcome = call(host, function, arguments, argument_count, answer);
    if (outcome == ENDED) {
        return ENDED;
    }
    bool is_result = answer->kind == WASMTIME_COMPONENT_RESULT;
    if (is_result && answer->of.result.is_ok && answer->of.result.val != NULL) {
        *content = answer->of.result.val;
        return ACCEPTED;
    }
    bool is_refusal = is_result && !answer->of.result.is_ok &&
                      read_refusal(answer->of.result.val, refusal);
    wasmtime_component_val_delete(answer);
    return is_refusal ? REFUSED : unknown_answer(host, function);
}

/* Creates a session. */
static enum outcome create(struct host *host, const struct create_request *request,
                           struct grant *grant, struct refusal *refusal) {
    if (!check_text("agent-id", request->agent_id, refusal) ||
        !check_text("role", request->role, refusal)) {
        return REFUSED;
    }
    for (size_t i = 0; i < request->scope_count; i++) {
        if (!check_text("scopes", request->scopes[i], refusal)) {
            return REFUSED;
        }
    }
    value scopes = list_value(request->scope_count);
    for (size_t i = 0; i < request->scope_count; i++) {
        scopes.of.list.data[i] = text_value(request->scopes[i]);
    }
    uint64_t expires_in = request->expires_in;
    const struct field fields[] = {
        {"agent-id", text_value(request->agent_id)},
        {"role", text_value(request->role)},
        {"scopes", scopes},
        {"task-type", none()},
        {"expires-in", expires_in == 0 ? none() : some(u64_value(expires_in))},
        {"metadata", none()},
        {"max-uses", none()},
    };
    value argument = record_value(sizeof fields / sizeof fields[0], fields);
    value answer;
    const value *content;
    enum outcome outcome =
        call_for_result(host, CREATE, &argument, 1, &answer, &content, refusal);
    if (outcome != ACCEPTED) {
        return outcome;
    }
    const value *session = field(content, "session", WASMTIME_COMPONENT_RECORD);
    bool read = read_session(session, &grant->session) &&
                copy_field(grant->token, sizeof grant->token, content, "token");
    wasmtime_component_val_delete(&answer);
    return read ? ACCEPTED : unknown_answer(host, CREATE);
}

/* Returns the session of a token. */
static enum outcome validate(struct host *host, const char *token, struct session *session,
                             struct refusal *refusal) {
    if (!check_text("token", token, refusal)) {
        return REFUSED;
    }
    value argument = text_value(token);
    value answer;
    const value *content;
    enum outcome outcome =
        call_for_result(host, VALIDATE, &argument, 1, &answer, &content, refusal);
    if (outcome != ACCEPTED) {
        return outcome;
    }
    bool read = read_session(content, session);
    wasmtime_component_val_delete(&answer);
    return read ? ACCEPTED : unknown_answer(host, VALIDATE);
}

/* Ends a session. Writes whether the guard has confirmed the revocation of its token. */
static enum outcome revoke(struct host *host, const char *session_id, bool *guard_confirmed,
                           struct refusal *refusal) {
    if (!check_text("session-id", session_id, refusal)) {
        return REFUSED;
    }
    value argument = text_value(session_id);
    value answer;
    const value *content;
    enum outcome outcome = call_for_result(host, REVOKE, &argument, 1, &answer, &content, refusal);
    if (outcome != ACCEPTED) {
        return outcome;
    }
    const value *confirmed = field(content, "guard-confirmed", WASMTIME_COMPONENT_BOOL);
    bool read = confirmed != NULL;
    if (read) {
        *guard_confirmed = confirmed->of.boolean;
    }
    wasmtime_component_val_delete(&answer);
    return read ? ACCEPTED : unknown_answer(host, REVOKE);
}

/* Writes how many sessions are live. */
static enum outcome active_count(struct host *host, uint32_t *count) {
    value answer;
    enum outcome outcome = call(host, ACTIVE_COUNT, NULL, 0, &answer);
    if (outcome == ENDED) {
        return ENDED;
    }
    bool is_number = answer.kind == WASMTIME_COMPONENT_U32;
    *count = is_number ? answer.of.u32 : 0;
    wasmtime_component_val_delete(&answer);
    return is_number ? ACCEPTED : unknown_answer(host, ACTIVE_COUNT);
}

/* --- The example ------------------------------------------------------------------------------ */

static const char *const SCOPES[] = {"memory:read", "web:search"};

static const struct create_request REQUEST = {
    .agent_id = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f",
    .role = "researcher",
    .scope_count = 2,
    .scopes = SCOPES,
    .expires_in = 900,
};

/* Prints what a call returned. Returns false if the instance has ended. */
static bool show(const char *what, enum outcome outcome, const char *accepted,
                 const struct refusal *refusal) {
    if (outcome == ACCEPTED) {
        printf("%s: %s\n", what, accepted);
    } else if (outcome == REFUSED) {
        const char *detail = refusal->detail;
        printf("%s: %s%s%s\n", what, refusal->kind, *detail == '\0' ? "" : " ", detail);
    }
    return outcome != ENDED;
}

/* Validates a token and prints the role of its session, or the error. */
static bool show_validate(struct host *host, const char *what, const char *token) {
    struct session session;
    struct refusal refusal;
    enum outcome outcome = validate(host, token, &session, &refusal);
    return show(what, outcome, session.role, &refusal);
}

/* Creates, validates and revokes a session. Returns false if the instance has ended, or if it
 * created no session. */
static bool run_example(struct host *host) {
    struct grant grant;
    struct refusal refusal;
    enum outcome outcome = create(host, &REQUEST, &grant, &refusal);
    if (!show("create", outcome, grant.session.role, &refusal) || outcome != ACCEPTED) {
        return false;
    }
    struct create_request too_long = REQUEST;
    too_long.expires_in = UINT64_MAX;
    struct grant other;
    outcome = create(host, &too_long, &other, &refusal);
    if (!show("create for too long", outcome, other.session.role, &refusal) ||
        !show_validate(host, "validate", grant.token) ||
        !show_validate(host, "validate a wrong token", "a wrong token") ||
        !show_validate(host, "validate what is not UTF-8", "\xc0\xaf")) {
        return false;
    }
    for (int times = 1; times <= 2; times++) {
        bool confirmed = false;
        outcome = revoke(host, grant.session.id, &confirmed, &refusal);
        const char *accepted = confirmed ? "confirmed by the guard" : "not yet confirmed";
        if (!show(times == 1 ? "revoke" : "revoke again", outcome, accepted, &refusal)) {
            return false;
        }
    }
    uint32_t count;
    if (!show_validate(host, "validate the revoked token", grant.token) ||
        active_count(host, &count) != ACCEPTED) {
        return false;
    }
    printf("active-count: %" PRIu32 "\n", count);
    return true;
}

/* Prints the mean time of a call of `validate`. */
static bool measure(struct host *host, long calls) {
    struct grant grant;
    struct refusal refusal;
    if (create(host, &REQUEST, &grant, &refusal) != ACCEPTED) {
        return false;
    }
    uint64_t begin = read_clock(CLOCK_MONOTONIC);
    for (long i = 0; i < calls; i++) {
        if (validate(host, grant.token, &grant.session, &refusal) != ACCEPTED) {
            return false;
        }
    }
    double microseconds = (double)(read_clock(CLOCK_MONOTONIC) - begin) / 1000;
    printf("validate: %.1f us, mean of %ld calls\n", microseconds / (double)calls, calls);
    return true;
}

int main(int argc, char **argv) {
    char *end = NULL;
    long calls = argc == 3 ? strtol(argv[2], &end, 10) : 0;
    if (argc < 2 || argc > 3 || (argc == 3 && (calls < 1 || *end != '\0'))) {
        fprintf(stderr, "usage: %s COMPONENT [CALLS]\n", argc > 0 ? argv[0] : "session");
        return 2;
    }
    struct host *host = open_host(argv[1]);
    bool done = host != NULL && (argc == 3 ? measure(host, calls) : run_example(host));
    close_host(host);
    return done && fflush(stdout) == 0 ? 0 : 1;
}
