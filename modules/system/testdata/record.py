#!/usr/bin/env python3
"""Record what Ansible's modules do to files, for the cases of ansible.json beside this file.

Each case has a module, arguments (@FILE@ is the file that is edited) and the file's content before, or null.
Ansible runs the module on a temporary file; what it leaves is written into the case as "after", and whether
it says "changed". It needs ansible-core, and the collections ansible.posix and community.general.
"""
import json, os, pathlib, subprocess, tempfile

cases_file = pathlib.Path(__file__).with_name("ansible.json")
cases = json.loads(cases_file.read_text())
for case in cases:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        # cron looks for crontab even where it edits a file and does not call it.
        pathlib.Path(folder, "crontab").symlink_to("/bin/false")
        if case["before"] is not None:
            path.write_text(case["before"])
        args = json.dumps(case["args"]).replace("@FILE@", str(path))
        out = subprocess.run(["ansible", "localhost", "-c", "local", "-m", case["module"], "-a", args],
                             capture_output=True, text=True, env={**os.environ, "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1", "ANSIBLE_STDOUT_CALLBACK": "json",
                                                               "PATH": os.environ["PATH"] + ":" + folder})
        result = json.loads(out.stdout)["plays"][0]["tasks"][0]["hosts"]["localhost"]
        if result.get("failed"):
            raise SystemExit(f"{case['name']}: {result.get('msg')}")
        case["changed"] = result["changed"]
        case["after"] = path.read_text() if path.exists() else None
cases_file.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
