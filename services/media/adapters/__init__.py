"""What the media service is joined to: tables, spool files, codecs, the object store."""
