;; A component that has the names of the world's exports, and whose `create` traps. `run-example`
;; checks with it what the example does then.
(component
  (core module $module
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      i32.const 1024)
    (func (export "create")
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32) (result i32)
      unreachable)
    (func (export "active-count") (result i32)
      i32.const 0))
  (core instance $core (instantiate $module))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))
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
