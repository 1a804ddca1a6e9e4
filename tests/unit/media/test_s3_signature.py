"""Requests to S3 are signed as Amazon's own examples are."""

from datetime import UTC, datetime

import pytest

from services.media.adapters.s3_signature import Credentials, encoded_path, encoded_query, signed

EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
THEN = datetime(2013, 5, 24, tzinfo=UTC)
HOST = {"Host": "examplebucket.s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {},
            {"Range": "bytes=0-9"},
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            {},
            {
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET",
            "/",
            {"lifecycle": ""},
            {},
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET",
            "/",
            {"prefix": "J", "max-keys": "2"},
            {},
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_examples_of_the_description_come_out(
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    signature: str,
) -> None:
    sent = signed(EXAMPLE, "us-east-1", THEN, method, path, query, HOST | headers, body)
    assert sent["authorization"].endswith(f"Signature={signature}")


def test_a_token_of_credentials_that_end_is_sent_and_signed() -> None:
    credentials = Credentials("id", "secret", "token")
    sent = signed(credentials, "us-east-1", THEN, "GET", "/", {}, HOST)
    assert sent["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in sent["authorization"]


def test_what_stands_in_a_request_is_encoded_as_it_is_signed() -> None:
    assert encoded_path("/a b/ü+~") == "/a%20b/%C3%BC%2B~"
    assert encoded_query({"b": "x/y z", "a": ""}) == "a=&b=x%2Fy%20z"


def test_without_credentials_in_the_environment_there_are_none() -> None:
    assert Credentials.of({"AWS_ACCESS_KEY_ID": "id"}) is None
    assert Credentials.of({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s"}) is not None


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(Credentials("id", "secret", "secret"))
