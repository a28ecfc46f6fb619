"""What huggingface_hub has, or gets, of files of a model repository.

    python hub_client.py REPOSITORY REVISION FILE...

Endpoint, cache and whether it may ask come from the environment. Prints a line for each file; a file that it may not fetch is
"missing". The content of each must have the hash that the Hub gives, which the name of its blob tells.
"""

import hashlib
import pathlib
import sys

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

repository, revision, *files = sys.argv[1:]
for name in files:
    try:
        path = pathlib.Path(hf_hub_download(repository, name, revision=revision))
    except LocalEntryNotFoundError:
        print(name, "missing")
        continue
    content, blob = path.read_bytes(), path.resolve().name
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert blob in (git, hashlib.sha256(content).hexdigest()), (name, blob)
    print(name, "found", "snapshot", path.parent.name)
