"""What running a Parley service takes, once.

Map:

- `errors`, `reasons`, `status`: one exception type, its documented reasons, its wire form.
- `settings`, `limits`, `ids`, `clock`: values every service needs.
- `access`, `call_context`: who may call a method, and what is known about the call in progress.
- `auth`, `service_identity`: verification of learners' tokens and of the services' own.
- `service`, `server`, `lifecycle`: what a bootstrap returns, the gRPC server, start to drain.
- `channel`: how one service calls another.
- `database`, `migrations`, `outbox`: transactions, schema, and events leaving the process.
- `telemetry`, `metrics`: logs without speech or secrets, and Prometheus.

Nothing here imports a service. `codes`, `errors`, `reasons`, `ids`, `clock` and `limits` import
neither gRPC nor SQLAlchemy, so domain files may use them.
"""
