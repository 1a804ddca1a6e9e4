"""The history service: what was said, found again, and deleted for good.

Map:

- `events`, `conversations`, `search`, `page_tokens`: the domain; no gRPC and no SQL.
- `application`: what each method does, over the ports in `ports`.
- `translate`, `servicer`: protobuf in, protobuf out.
- `adapters`: tables, the store over them, the search index, and the client of the media service.
- `bootstrap`: builds all of it.
"""
