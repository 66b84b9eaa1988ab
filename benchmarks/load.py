"""Sends one image again and again to a server, and prints what came of it as JSON; for benchmarks/serving.py.

    python benchmarks/load.py http://127.0.0.1:8000/v1/restore photo.png clients=4 count=25       # each without a pause
    python benchmarks/load.py http://127.0.0.1:8000/v1/restore photo.png clients=24 rate=10 seconds=20

With ``rate`` requests come at random moments, whether earlier ones are answered or not (an open loop), as far as there
are clients for it. Threads of one process that imports nothing but the standard library, so that it costs the server's
machine little.
"""

import http.client
import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit


def send(url: str, data: bytes, moments: list[float] | None, count: int, begin: float) -> list[tuple[int, float]]:
    """One client: so many requests, at these moments after ``begin`` or one after the other; statuses and seconds."""
    place, found = urlsplit(url), []
    connection = http.client.HTTPConnection(place.netloc, timeout=900)
    for number in range(count):
        if moments is not None:
            time.sleep(max(0.0, begin + moments[number] - time.perf_counter()))
        sent = time.perf_counter()
        connection.request("POST", f"{place.path}?{place.query}", data, {"Accept": "image/png"})
        answer = connection.getresponse()
        answer.read()
        found.append((answer.status, time.perf_counter() - sent))
    return found


def main(url: str, file: str, *, clients: int = 1, count: int = 1, rate: float = 0.0, seconds: float = 0.0) -> None:
    """Sends, and prints ``{"seconds": ..., "answers": [[status, seconds], ...]}``."""
    data = Path(file).read_bytes()
    draw, shares = random.Random(0), [[] for _ in range(clients)]
    if rate:
        moments = sorted(draw.uniform(0, seconds) for _ in range(max(8, round(rate * seconds))))
        shares = [moments[each::clients] for each in range(clients)]
    begin = time.perf_counter() + (0.2 if rate else 0.0)
    with ThreadPoolExecutor(clients) as threads:
        sent = [
            threads.submit(send, url, data, share if rate else None, len(share) if rate else count, begin)
            for share in shares
        ]
        found = [answer for each in sent for answer in each.result()]
    print(json.dumps({"seconds": time.perf_counter() - begin, "answers": found}))


if __name__ == "__main__":
    options = dict(word.split("=", 1) for word in sys.argv[3:])
    main(
        sys.argv[1],
        sys.argv[2],
        clients=int(options.get("clients", 1)),
        count=int(options.get("count", 1)),
        rate=float(options.get("rate", 0)),
        seconds=float(options.get("seconds", 0)),
    )
