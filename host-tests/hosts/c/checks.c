/* Checks parts of `session.c` that the example does not reach: a full table of tokens, a token that
 * has expired, and a call after a trap. `run-example` compares what this prints.
 *
 *     checks COMPONENT TRAPPING
 *
 * TRAPPING is a component whose `create` traps. */
#define main example_main
#include "session.c"
#undef main

/* Creates a session and prints its role, or the error. */
static bool show_create(struct host *host, const char *what, struct grant *grant) {
    struct refusal refusal;
    enum outcome outcome = create(host, &REQUEST, grant, &refusal);
    return show(what, outcome, grant->session.role, &refusal);
}

/* Sets the expiry of all tokens, also of those that no one has. */
static void set_expiries(struct guard *guard, uint64_t expires_at) {
    for (size_t i = 0; i < TABLE_ROWS; i++) {
        guard->rows[i].expires_at = expires_at;
    }
}

/* Asks the guard itself about a token, and prints its error. The component also compares the expiry
 * with its clock, so its answer does not show what the guard says. */
static void show_guard(struct host *host, const char *what, const char *token) {
    struct refusal refusal = {.kind = "valid"};
    value argument = text_value(token);
    value answer = validate_token(&host->guard, &argument);
    if (!answer.of.result.is_ok) {
        read_refusal(answer.of.result.val, &refusal);
    }
    printf("%s: %s\n", what, refusal.kind);
    wasmtime_component_val_delete(&answer);
    wasmtime_component_val_delete(&argument);
}

static bool check_table(struct host *host) {
    struct grant grant;
    struct grant refused;
    set_expiries(&host->guard, UINT64_MAX);
    if (!show_create(host, "create, and the table is full", &refused)) {
        return false;
    }
    host->guard.rows[TABLE_ROWS / 2].expires_at = now_millis();
    if (!show_create(host, "create, and one token has expired", &grant) ||
        !show_create(host, "create, and the table is full again", &refused) ||
        !show_validate(host, "validate", grant.token)) {
        return false;
    }
    show_guard(host, "the guard about the token", grant.token);
    set_expiries(&host->guard, now_millis());
    show_guard(host, "the guard about the expired token", grant.token);
    return show_validate(host, "validate an expired token", grant.token) &&
           show_create(host, "create, and all tokens have expired", &grant) &&
           show_validate(host, "validate the new token", grant.token);
}

/* Returns whether the first call traps, and a further call is refused. */
static bool check_trap(struct host *host) {
    struct grant grant;
    uint32_t count;
    bool traps = !show_create(host, "create", &grant);
    return traps && active_count(host, &count) == ENDED;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s COMPONENT TRAPPING\n", argc > 0 ? argv[0] : "checks");
        return 2;
    }
    struct host *host = open_host(argv[1]);
    bool done = host != NULL && check_table(host);
    close_host(host);
    host = open_host(argv[2]);
    done = host != NULL && check_trap(host) && done;
    close_host(host);
    return done && fflush(stdout) == 0 ? 0 : 1;
}
