"""A process that stands still before its first word: `python -Im` runs it."""

import signal

if __name__ == "__main__":
    signal.pause()
