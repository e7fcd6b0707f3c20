"""A deflated member beside what Python's zip module reads of it."""

import io
import zipfile

import numpy as np
import pytest

from vesal.inference.io.inflate import Inflated

CONTENT = np.random.default_rng(0).integers(0, 7, 300_000, np.uint8).tobytes()


def archive_of(content: bytes = CONTENT) -> tuple[io.BytesIO, zipfile.ZipInfo]:
    """An archive in memory with a member before the one that is read, and that one's entry."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("other", b"other")
        archive.writestr("name", content)
    return file, zipfile.ZipFile(file).getinfo("name")


@pytest.mark.parametrize("at_once", [1, 7, 4096, 65536, 299_999, 300_000, 400_000])
def test_portions_of_any_size_make_the_content(at_once: int) -> None:
    content = CONTENT[: 100 * at_once]
    stream = Inflated(*archive_of(content))
    portions = []
    while portion := stream.read(at_once):
        portions.append(portion)
        assert stream.tell() == sum(map(len, portions))
    assert b"".join(portions) == content
    assert {len(p) for p in portions[:-1]} <= {at_once}


def test_an_empty_member_has_no_bytes() -> None:
    assert Inflated(*archive_of(b"")).read(10) == b""


def test_a_stream_that_is_cut_short_is_said_to_be() -> None:
    file, info = archive_of()
    info.compress_size -= 10_000
    with pytest.raises(EOFError, match=r"ends after \d+ of 300000 bytes"):
        Inflated(file, info).read(300_000)


def test_another_checksum_is_an_error_at_the_end_and_not_before() -> None:
    file, info = archive_of()
    info.CRC ^= 1
    stream = Inflated(file, info)
    assert stream.read(299_999) == CONTENT[:-1]
    with pytest.raises(zipfile.BadZipFile, match="checksum of 'name'"):
        stream.read(1)


def test_no_more_is_given_than_the_table_promises() -> None:
    """A member that says it is small and is not: what is beyond stays packed."""
    file, info = archive_of(bytes(50_000_000))
    info.file_size, info.CRC = 1000, 0
    stream = Inflated(file, info)
    assert stream.read(999) == bytes(999)
    assert stream.tell() == 999
