"""Sends photos to the service, which may run on another machine. Start `mien serve` first. Needs the extra client.

python examples/rest_client.py http://127.0.0.1:8000 photo.jpg another.jpg
"""

import sys

from mien import ErrorResult
from mien.client import Client

if len(sys.argv) < 3:
    sys.exit(__doc__)
address, *photos = sys.argv[1:]
with Client(address) as client:
    for record in client.analyze_many(photos):
        if isinstance(record, ErrorResult):
            print(f"{record.source}: {record.code}: {record.message}")
            continue
        answers = ["not sure" if face.uncertain else face.top for face in record.faces]
        print(f"{record.source}: {', '.join(answers) or 'no face'}")
