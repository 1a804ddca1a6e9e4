"""What happens around every call, in this order.

1. `request_id`: the id is taken or made, and sent back with streams and failures.
2. `metrics` (in `services.common.metrics`): the call is counted.
3. `failures`: whatever is raised below becomes a status.
4. `gate`: nothing is let in before the service is ready.
5. `authentication`: the caller is verified and held against the method's rule.
6. `deadline`: a unary call gets one, and what is left of it is known below.
7. `validation`: every received message is decoded, measured and validated.

They are plain functions and small classes; `pipeline` puts them around a handler. One wrapper a
call instead of seven, and none a message, is what keeps a call near the cost of a bare one.
"""
