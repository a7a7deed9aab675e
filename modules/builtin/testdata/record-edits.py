#!/usr/bin/python3
"""Records what ansible-core makes of the edits below: edits.json. Run it in this folder with ansible-playbook at hand.

Each case is a module, its arguments (without path) and the file before; null stands for no file.
"""
import json, os, subprocess, tempfile

HOSTS = "a=1\nb=2\nc=3\n"
INI = "[one]\nport = 1\n\n[two]\nport = 2\n# port = 3\n"
L, B, R = "lineinfile", "blockinfile", "replace"
M0, M1 = "# BEGIN ANSIBLE MANAGED BLOCK\n", "# END ANSIBLE MANAGED BLOCK\n"
CASES = [
    (L, {"line": "d=4"}, HOSTS),
    (L, {"line": "b=2"}, HOSTS),
    (L, {"line": "d=4"}, "a=1\nb=2"),
    (L, {"line": "b=2"}, "a=1\nb=2"),
    (L, {"line": "b=2"}, "a=1\r\nb=2\r\n"),
    (L, {"line": "d=4"}, ""),
    (L, {"line": ""}, HOSTS),
    (L, {"line": "two\nlines"}, HOSTS),
    (L, {"line": "d=4", "create": True}, None),
    (L, {"line": "d=4"}, None),
    (L, {"regexp": "^b=", "line": "b=3"}, HOSTS),
    (L, {"regexp": "^b=", "line": "b=2"}, HOSTS),
    (L, {"regexp": "^x=", "line": "x=3"}, HOSTS),
    (L, {"regexp": "^x=", "line": "b=2"}, HOSTS),
    (L, {"regexp": "^b=2$", "line": "b=$2"}, HOSTS),
    (L, {"regexp": "=", "line": "z=9"}, HOSTS),
    (L, {"regexp": "=", "line": "z=9", "firstmatch": True}, HOSTS),
    (L, {"regexp": "^c", "line": "c=9"}, "a\nc"),
    (L, {"regexp": "^b=", "line": "b=9\n"}, HOSTS),
    (L, {"regexp": "^(b)=(\\d+)", "line": "\\1 = \\2", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(?P<key>b)=(?P<value>.*)$", "line": "\\g<value>=\\g<key>\\t\\g<0>", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(b)(x)?=", "line": "<\\1\\2>", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(x)=", "line": "\\1", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(b)=", "line": "\\3", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(b)=", "line": "\\.\\1", "backrefs": True}, HOSTS),
    (L, {"regexp": "^(b)=", "line": "\\q\\1", "backrefs": True}, HOSTS),
    (L, {"search_string": "=2", "line": "b=22"}, HOSTS),
    (L, {"search_string": "=9", "line": "b=22"}, HOSTS),
    (L, {"search_string": "=", "line": "x", "firstmatch": True}, HOSTS),
    (L, {"line": "x", "insertafter": "^a"}, HOSTS),
    (L, {"line": "x", "insertafter": "^c"}, HOSTS),
    (L, {"line": "x", "insertafter": "="}, HOSTS),
    (L, {"line": "x", "insertafter": "=", "firstmatch": True}, HOSTS),
    (L, {"line": "x", "insertafter": "^none"}, HOSTS),
    (L, {"line": "x", "insertafter": "EOF"}, HOSTS),
    (L, {"line": "x", "insertafter": "BOF"}, HOSTS),
    (L, {"line": "b=2", "insertafter": "^a"}, HOSTS),
    (L, {"line": "x", "insertbefore": "^c"}, HOSTS),
    (L, {"line": "x", "insertbefore": "^a"}, HOSTS),
    (L, {"line": "x", "insertbefore": "="}, HOSTS),
    (L, {"line": "x", "insertbefore": "=", "firstmatch": True}, HOSTS),
    (L, {"line": "x", "insertbefore": "BOF"}, HOSTS),
    (L, {"line": "x", "insertbefore": "^none"}, HOSTS),
    (L, {"regexp": "^b", "line": "x", "insertafter": "^a"}, HOSTS),
    (L, {"regexp": "^n", "line": "x", "insertafter": "^a"}, HOSTS),
    (L, {"regexp": "^n", "line": "x", "insertbefore": "^b"}, HOSTS),
    (L, {"regexp": "^n", "line": "b=2", "insertbefore": "^b"}, HOSTS),
    (L, {"search_string": "nn", "line": "x", "insertbefore": "^b"}, HOSTS),
    (L, {"state": "absent", "line": "b=2"}, HOSTS),
    (L, {"state": "absent", "line": "b"}, HOSTS),
    (L, {"state": "absent", "regexp": "="}, HOSTS),
    (L, {"state": "absent", "regexp": "^[ab]="}, HOSTS),
    (L, {"state": "absent", "search_string": "3"}, HOSTS),
    (L, {"state": "absent", "regexp": "x"}, None),
    (L, {"state": "absent", "regexp": "^$"}, "a\n\n\nb\n"),
    (L, {"regexp": "^\\s*#?\\s*port\\s*=", "line": "port = 8", "insertafter": "\\[two\\]"}, INI),
    (L, {"regexp": "(?i)^PORT", "line": "port = 8"}, INI),
    (L, {"regexp": "port = [[:digit:]]", "line": "x"}, INI),
    (L, {"regexp": "^[]#]", "line": "x"}, INI),
    (L, {"regexp": "\\Aport = \\d\\Z", "line": "x"}, INI),
    (L, {"regexp": "^port = \\d{,2}$", "line": "port = 7"}, INI),
    (L, {"regexp": "^port\\ =\\ 1(?#one)", "line": "port = 7"}, INI),
    (L, {"regexp": "^a(?=b)", "line": "x"}, HOSTS),
    (L, {"line": "x", "regexp": "é"}, "caf\u00e9\n"),
    (L, {"line": "x", "insertafter": "^b", "insertbefore": "^a"}, HOSTS),
    (L, {"regexp": "^b"}, HOSTS),
    (L, {"line": "x", "backrefs": True}, HOSTS),
    (L, {"state": "absent"}, HOSTS),
    (L, {"state": "there", "line": "x"}, HOSTS),
    (L, {"regexp": "(", "line": "x"}, HOSTS),
    (B, {"block": "x\ny"}, HOSTS),
    (B, {"block": "x\ny\n"}, "a"),
    (B, {"block": "x\n"}, HOSTS + M0 + "x\n" + M1),
    (B, {"block": "y\n"}, HOSTS + M0 + "x\n" + M1 + "end\n"),
    (B, {"block": ""}, HOSTS + M0 + "x\n" + M1 + "end\n"),
    (B, {"state": "absent"}, HOSTS + M0 + "x\n" + M1 + "end\n"),
    (B, {"state": "absent", "block": "zz"}, HOSTS),
    (B, {"state": "absent"}, None),
    (B, {"block": "x"}, None),
    (B, {"block": "x", "create": True}, None),
    (B, {"block": "", "create": True}, None),
    (B, {"block": "x"}, ""),
    (B, {"block": "x", "insertbefore": "BOF"}, HOSTS),
    (B, {"block": "x", "insertafter": "^b"}, HOSTS),
    (B, {"block": "x", "insertafter": "="}, HOSTS),
    (B, {"block": "x", "insertbefore": "="}, HOSTS),
    (B, {"block": "x", "insertbefore": "^a"}, HOSTS),
    (B, {"block": "x", "insertafter": "^c"}, "a=1\nc=3"),
    (B, {"block": "x", "insertafter": "none"}, HOSTS),
    (B, {"block": "x", "insertafter": "(?m)^a=1\nb"}, HOSTS),
    (B, {"block": "x", "insertbefore": "(?m)^b=2\nc"}, HOSTS),
    (B, {"block": "x", "marker": "; {mark} app"}, HOSTS),
    (B, {"block": "x", "marker": "<!-- {mark} -->", "marker_begin": "app", "marker_end": "/app"}, "<!-- app -->\nold\n<!-- /app -->\n"),
    (B, {"block": "x"}, M1 + "old\n" + M0 + "rest\n"),
    (B, {"block": "x"}, M0 + "one\n" + M1 + M0 + "two\n" + M1),
    (B, {"block": "x"}, M0 + "no end\n"),
    (B, {"block": "x"}, "a\r\nb\rc"),
    (B, {"block": "a\r\nb"}, "a\n"),
    (B, {"block": "x", "insertafter": "EOF"}, "\n\n"),
    (R, {"regexp": "=", "replace": ": "}, HOSTS),
    (R, {"regexp": "^b=2$", "replace": "b"}, HOSTS),
    (R, {"regexp": "^", "replace": "# "}, HOSTS),
    (R, {"regexp": "$", "replace": ";"}, HOSTS),
    (R, {"regexp": ".*", "replace": "x"}, "ab\ncd"),
    (R, {"regexp": "^.*$", "replace": "x"}, "ab\ncd\n"),
    (R, {"regexp": "x*", "replace": "-"}, "abxd"),
    (R, {"regexp": "\\d*", "replace": "N"}, "a12b"),
    (R, {"regexp": "^\\s*$", "replace": "E"}, "a\n\n\nb\n"),
    (R, {"regexp": "\\bb", "replace": "B"}, "b ab b.b"),
    (R, {"regexp": "^b=2\n", "replace": ""}, HOSTS),
    (R, {"regexp": "^b=2\n"}, HOSTS),
    (R, {"regexp": "none", "replace": "x"}, HOSTS),
    (R, {"regexp": "b", "replace": "b"}, HOSTS),
    (R, {"regexp": "(\\w)=(\\w)", "replace": "\\2=\\1"}, HOSTS),
    (R, {"regexp": "(?P<k>\\w)=", "replace": "\\g<k>\\g<1>: "}, HOSTS),
    (R, {"regexp": "(a)|(b)", "replace": "[\\1\\2]"}, HOSTS),
    (R, {"regexp": "=", "replace": "\\n"}, HOSTS),
    (R, {"regexp": "=", "replace": "\\x"}, HOSTS),
    (R, {"regexp": "=", "replace": "$1 & \\\\ \\& \\012\\101"}, HOSTS),
    (R, {"regexp": "\\w+", "replace": "W"}, "na\u00efve caf\u00e9_1\n"),
    (R, {"regexp": "\\d", "replace": "D"}, "1\u0663\n"),
    (R, {"regexp": "port = (\\d)", "replace": "port = 1\\1", "after": "\\[two\\]"}, INI),
    (R, {"regexp": "port = (\\d)", "replace": "port = 1\\1", "before": "\\[two\\]"}, INI),
    (R, {"regexp": "port = (\\d)", "replace": "port = 1\\1", "after": "one.", "before": "#"}, INI),
    (R, {"regexp": "port", "replace": "x", "after": "none"}, INI),
    (R, {"regexp": "^port", "replace": "x", "after": "= 1"}, INI),
    (R, {"regexp": "a(?!b)", "replace": "x"}, HOSTS),
    (R, {"regexp": "x", "replace": "y"}, None),
    (R, {"regexp": "(?i)A", "replace": "y"}, HOSTS),
    (R, {"regexp": "(?s)a.*c", "replace": "y"}, HOSTS),
    (R, {"regexp": "a[\\s=]1", "replace": "y"}, HOSTS),
    (R, {"regexp": "[^\\s]", "replace": "."}, "a b\tc\n"),
    (R, {"regexp": "\\.", "replace": ","}, "1.2\n"),
    (R, {"regexp": "\\x41\\u00e9", "replace": "y"}, "A\u00e9\n"),
]

with tempfile.TemporaryDirectory() as d:
    tasks = []
    for i, (module, args, before) in enumerate(CASES):
        path = os.path.join(d, str(i))
        if before is not None:
            with open(path, "w", newline="", encoding="utf-8") as f:
                f.write(before)
        tasks.append({module: {"path": path, **{k: {"__unsafe": v} if isinstance(v, str) else v for k, v in args.items()}},
                      "name": str(i), "register": "r%d" % i, "ignore_errors": True})
    results = os.path.join(d, "results")
    tasks.append({"copy": {"dest": results, "content": "{{ [%s] | to_json }}" % ", ".join("r%d" % i for i in range(len(CASES)))}})
    text = json.dumps([{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": tasks}])
    # Templates are not meant: !unsafe keeps every text as it is.
    def unsafe(value):
        if isinstance(value, dict):
            if set(value) == {"__unsafe"}:
                return "!unsafe " + json.dumps(value["__unsafe"])
            return "{" + ", ".join(json.dumps(k) + ": " + unsafe(v) for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(unsafe, value)) + "]"
        return json.dumps(value)
    book = os.path.join(d, "book.yml")
    with open(book, "w") as f:
        f.write(unsafe(json.loads(text)))
    subprocess.run(["ansible-playbook", "-i", "localhost,", book], check=True, stdout=subprocess.DEVNULL)
    with open(results) as f:
        done = json.load(f)
    recorded = []
    for i, ((module, args, before), r) in enumerate(zip(CASES, done)):
        path = os.path.join(d, str(i))
        after = None
        if os.path.exists(path):
            with open(path, newline="", encoding="utf-8") as f:
                after = f.read()
        recorded.append({"module": module, "args": args, "before": before, "failed": r.get("failed", False),
                         "changed": r.get("changed", False), "after": after, "msg": "" if r.get("failed") else r.get("msg", "")})
    with open("edits.json", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in recorded) + "\n]\n")
