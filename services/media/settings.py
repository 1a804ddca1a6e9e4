"""What the media service can be told."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from services.common.settings import ServiceSettings
from services.media.adapters.sealing_keys import SealingKeys

_STORE_SCHEMES = frozenset({"file", "s3", "gs", "az", "abfs", "abfss"})
"""Local folders, and the stores that sign links."""


class MediaSettings(ServiceSettings):
    """Settings of the media service, read from `PARLEY_MEDIA_…`."""

    service: ClassVar[str] = "media"

    port: int = Field(
        50055, ge=0, le=65535, description="Port of the gRPC server; 0 picks a free one."
    )
    store_url: str = Field(
        "",
        description="Where originals are kept: file:///…, s3://bucket/prefix, gs://… or az://…; "
        "credentials come from the provider's own variables. Empty: a folder in the data folder.",
    )
    store_endpoint: str = Field(
        "",
        description="Where an S3-compatible store is that is not Amazon's, such as MinIO, Ceph or "
        "OSS: http(s)://host:port. Empty: Amazon's own.",
    )
    store_bucket_in_host: bool = Field(
        False,
        description="Whether the bucket's name stands in front of the S3 store's host name, not in "
        "the path: OSS takes nothing else.",
    )
    store_encryption: Literal["", "AES256", "aws:kms"] = Field(
        "", description="How S3 encrypts originals at rest; empty: as the bucket says."
    )
    store_key: str = Field("", description="Id of the key for aws:kms; empty: the bucket's.")
    sealing_keys: SecretStr | None = Field(
        None,
        description="Keys by which Parley itself encrypts recordings before they are stored, "
        "wherever that is: name:key,name:key, each of 32 bytes in base64 "
        "(`python -m services.media keys new NAME` makes one). The first is used from now on, the "
        "others open what they wrapped. Without a recording's key nobody can ever play it. Unset: "
        "not encrypted by Parley.",
    )
    sync_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Live audio is forced to disk at least this often; "
        "a power cut loses at most this much of a recording.",
    )
    live_upload_seconds: float = Field(
        5.0,
        gt=0,
        le=3600,
        description="How often it is looked whether a live recording has another 5 MiB for a store "
        "that speaks S3, where they go while the talk goes on.",
    )
    resume_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="How long a broken recording waits to be continued before it is completed "
        "with what is there.",
    )
    sweep_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="How often abandoned, deleted and expired recordings are looked for.",
    )
    max_recording_seconds: float = Field(
        10_800.0,
        gt=0,
        le=86_400,
        description="Longest recording or upload; above the longest conversation.",
    )
    max_upload_bytes: int = Field(
        100 * 1024 * 1024, gt=0, description="Largest file that UploadAudio takes."
    )
    decode_seconds: int = Field(
        60,
        ge=1,
        le=3_600,
        description="Processor time that decoding one uploaded file may take, and twice as long by "
        "the clock; then the process that does it is ended and the file refused, for now "
        "(MEDIA_BUSY) where the machine gave it too little of that time. Three hours of MP3 take "
        "about 20 s on one slow core.",
    )
    max_uploads_bytes: int = Field(
        2 * 1024 * 1024 * 1024,
        ge=0,
        description="What the files that one learner sent may take together, stored or waiting "
        "for it; 0: no bound.",
    )
    max_spool_bytes: int = Field(
        20 * 1024 * 1024 * 1024,
        ge=0,
        description="What recordings that are not stored yet may take on the disk together, as "
        "while the store is away: then no new one begins, and talks go on without; those under way "
        "are recorded to their end. Files that learners send get no more than three quarters of "
        "it. About 70 hours of talk; 0: no bound.",
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Recordings are deleted this many days after they ended, older ones and those "
        "too that could not be kept; 0 keeps them.",
    )
    housekeeping_hours: float = Field(
        24.0,
        gt=0,
        le=8760,
        description="How often the store and the list of recordings are held against each other: "
        "see operations.md.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Jobs that transcode for downloads at once, each in a process of its own. As "
        "many again complete recordings, and as many decode uploads.",
    )
    cache_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=0,
        description="Transcoded files are kept for the next download up to this size together.",
    )

    @field_validator("store_url")
    @classmethod
    def _known_kind(cls, url: str) -> str:
        if url and urlsplit(url).scheme not in _STORE_SCHEMES:
            raise ValueError(f"must begin with one of {', '.join(sorted(_STORE_SCHEMES))}")
        return url

    @field_validator("store_endpoint")
    @classmethod
    def _is_web_address(cls, url: str) -> str:
        if url and urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return url

    @field_validator("sealing_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            SealingKeys.parse(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _s3_alone_is_told_how(self) -> Self:
        told = (
            self.store_endpoint
            or self.store_bucket_in_host
            or self.store_encryption
            or self.store_key
        )
        if told and not self.store_url.startswith("s3:"):
            raise ValueError(
                "store_endpoint, store_bucket_in_host, store_encryption and store_key are of a "
                "store_url that begins with s3://"
            )
        if self.store_key and self.store_encryption != "aws:kms":
            raise ValueError("store_key is for the store_encryption aws:kms")
        return self

    @property
    def media_dir(self) -> Path:
        """Folder of everything this service writes but its database."""
        return self.data_dir / "media"

    @property
    def spool_dir(self) -> Path:
        """Folder of the recordings that are not complete."""
        return self.media_dir / "spool"

    @property
    def uploads_dir(self) -> Path:
        """Folder of the files that are being received and decoded."""
        return self.media_dir / "uploads"

    @property
    def cache_dir(self) -> Path:
        """Folder of the transcoded files; may be deleted at any time."""
        return self.media_dir / "cache"

    @property
    def effective_store_url(self) -> str:
        """The object store's URL with its default worked out."""
        return self.store_url or (self.media_dir / "objects").absolute().as_uri()
