"""``python -m bench SUBJECT [options]``; without a subject: which there are."""

import ast
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from bench.runner.command import SUBJECTS, main

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or [""]
    if name in SUBJECTS:
        main(name, arguments)
    elif name in ("", "-h", "--help"):
        print("python -m bench SUBJECT [options]; the options of a subject: --help behind it\n")
        for name, module in SUBJECTS.items():
            spec = find_spec(module)
            text = Path(str(spec and spec.origin)).read_text()
            about = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
            first = re.split(r"(?<=[.?]) (?=[A-Z])", " ".join(about.split()))[0]
            print(f"  {name:<17} {first}")
    else:
        print(f"error: there is no bench {name!r}; give one of {', '.join(SUBJECTS)}.")
        sys.exit(2)
