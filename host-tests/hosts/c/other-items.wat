;; A component that imports `revoke-tokens` with numbers instead of texts, and whose `create` calls
;; it. `run-example` checks with it that the example refuses the call.
(component
  (import "clawdb:session-sync/guard@0.1.0" (instance $guard
    (export "revoke-tokens" (func (param "handles" (list u64)) (result u32)))))
  (core module $memory-module
    (memory (export "memory") 1)
    ;; The only item of the list.
    (data (i32.const 64) "\01\00\00\00\00\00\00\00")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      i32.const 1024))
  (core instance $memory-instance (instantiate $memory-module))
  (alias core export $memory-instance "memory" (core memory $memory))
  (alias core export $memory-instance "realloc" (core func $realloc))
  (alias export $guard "revoke-tokens" (func $revoke-tokens))
  (core func $revoke-tokens-core (canon lower (func $revoke-tokens) (memory $memory)))
  (core module $module
    (import "guard" "revoke-tokens" (func $revoke-tokens (param i32 i32) (result i32)))
    (func (export "create")
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
      (call $revoke-tokens (i32.const 64) (i32.const 1)))
    (func (export "active-count") (result i32)
      i32.const 0))
  (core instance $guard-core (export "revoke-tokens" (func $revoke-tokens-core)))
  (core instance $core (instantiate $module (with "guard" (instance $guard-core))))
  (type $request (record
    (field "agent-id" string)
    (field "role" string)
    (field "scopes" (list string))
    (field "task-type" (option string))
    (field "expires-in" (option u64))
    (field "metadata" (option string))
    (field "max-uses" (option u32))))
  (func $create (param "request" $request) (result u32)
    (canon lift (core func $core "create") (memory $memory) (realloc $realloc)))
  (func $count (result u32)
    (canon lift (core func $core "active-count")))
  (instance $sessions
    (export "create-request" (type $request))
    (export "create" (func $create))
    (export "validate" (func $count))
    (export "revoke" (func $count))
    (export "active-count" (func $count)))
  (export "clawdb:session-sync/sessions@0.1.0" (instance $sessions)))
