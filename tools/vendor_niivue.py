"""Put NiiVue, which `vesal view` draws with, into the checkout: once at build time, never at run time.

    python tools/vendor_niivue.py [FOLDER]

Fetches the pinned package from npm's registry (NPM_CONFIG_REGISTRY names another one), checks its digest and
keeps the one file that a page needs. The folder is `inference/viewer/vendor`, where its licences lie in git;
the file itself does not, and the wheel takes it where it is there.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from pathlib import Path

VERSION = "0.69.0"
SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
"""Of the package, base64, as npm's registry has it (`npm view @niivue/niivue@0.69.0 dist.integrity`)."""
MEMBER = "package/dist/niivue.umd.js"
MEMBER_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
FOLDER = Path(__file__).resolve().parent.parent / "inference" / "viewer" / "vendor"
REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 120


def vendor(folder: Path = FOLDER) -> Path:
    """Fetch and write `niivue.umd.js`, unless the right one is there; return its path.

    Raises ValueError where the registry gives other bytes, OSError where it cannot be reached.
    """
    target = folder / "niivue.umd.js"
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == MEMBER_SHA256:
        return target
    content = script_of(fetch())
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(content)
    part.replace(target)
    return target


def fetch() -> bytes:
    """The package as the registry gives it."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/@niivue/niivue/-/niivue-{VERSION}.tgz"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read()
    return content


def script_of(package: bytes) -> bytes:
    """The script out of the bytes of the package. Raises ValueError unless they are the pinned ones."""
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if digest != SHA512:
        raise ValueError(f"NiiVue {VERSION} has sha512 {digest}; {SHA512} is wanted. Nothing was written.")
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None, "the digest of the package is checked"
        return member.read()


def main() -> int:
    """Fetch into the folder that is named, and say where."""
    try:
        print(vendor(*map(Path, sys.argv[1:2])))
    except (OSError, ValueError) as error:
        print(f"NiiVue was not fetched: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
