"""The media service: recordings, kept losslessly and played in any form.

Map:

- `recordings`, `timeline`, `renditions`: the domain; no gRPC, no SQL, no codec.
- `recorder`: live recordings, from the first sample to `finish`.
- `finisher`: from the spool to the lossless original, and what a killed process left behind.
- `player`, `cache`: what is asked for, made from the original and kept within a bound.
- `uploads`: files that learners bring, decoded in a process of their own.
- `library`: looking up and deleting.
- `workers`: the bounded pools all codec work runs in.
- `translate`, `servicer`: protobuf in, protobuf out.
- `adapters`: tables, spool files, codecs, the object store.
- `bootstrap`: builds all of it.
"""
