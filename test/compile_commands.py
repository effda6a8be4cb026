#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Print a compile_commands.json for the build in this folder; `make compile_commands.json` does that.

    compile_commands.py SRCDIR COMPILER [FLAG]... -- SOURCE...
"""

import json
import os
import pathlib
import sys

end = sys.argv.index("--")
srcdir, command = sys.argv[1], sys.argv[2:end]
entries = [
    {"directory": os.getcwd(), "file": f"{srcdir}/{source}",
     "arguments": [*command, "-c", "-o", str(pathlib.Path(source).with_suffix(".o")),
                   f"{srcdir}/{source}"]}
    for source in sorted(set(sys.argv[end + 1:])) if source.endswith(".c")
]
json.dump(entries, sys.stdout, indent=1)
print()
