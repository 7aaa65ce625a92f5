#!/usr/bin/env python3
"""The disaster recovery of Deep Lake datasets under its customary name: calls `rekeep dr` with the same arguments.

REKEEP names the program, if it is not on the PATH.
"""
import os
import sys

PROGRAM = os.environ.get("REKEEP") or "rekeep"

if __name__ == "__main__":
    try:
        os.execvp(PROGRAM, [PROGRAM, "dr", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"{PROGRAM}: {error}; set REKEEP to the program")
