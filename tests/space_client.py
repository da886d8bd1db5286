"""The client of `space_build.sh`: waits for the page, has the band make a take, looks at it.

python space_client.py URL HUM
"""

import sys
import tempfile
import time

import httpx
import soundfile
from gradio_client import Client, handle_file

STARTING = 180.0  # s that the page may take to start


def main(url: str, hum: str) -> None:
    """Raise where anything is not as it should be."""
    wait_for(url)
    with tempfile.TemporaryDirectory() as folder:
        client = Client(url, verbose=False, download_files=folder)
        takes, files = client.predict(
            handle_file(hum), genre="disco", engines=["band"], seconds=6, api_name="/make"
        )
        sound, rate = soundfile.read(next(file for file in files if file.endswith(".wav")))
        assert len(takes) == 1, takes
        assert abs(len(sound) / rate - 6) < 0.1, len(sound) / rate
        assert abs(sound).max() > 0.1
        print(f"a take of {len(sound) / rate:.1f} s: {[file.split('/')[-1] for file in files]}")


def wait_for(url: str) -> None:
    """Until the page answers."""
    before = time.monotonic()
    while True:
        try:
            httpx.get(url, timeout=10).raise_for_status()
            break
        except httpx.HTTPError:
            if time.monotonic() - before > STARTING:
                raise
            time.sleep(0.5)
    print(f"the page answers after {time.monotonic() - before:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
