#!/usr/bin/env python3
"""An example plugin in Python: a module that keeps KEY = VALUE lines in a file."""

import pegbook_plugin as pegbook


class KeyValue(pegbook.Module):
    name = "key_value"
    doc = """Keep the lines KEY = VALUE of a file

Lines of other keys and comments stay as they are; a key that is there gets the value in its place.

    - name: the cache has room
      key_value:
        path: /etc/cache.conf
        values: {size: 512, mode: fast}"""
    args = (
        pegbook.Arg("path", "path", "the file", required=True),
        pegbook.Arg("values", "map", "keys with their values", elem="string", required=True),
        pegbook.Arg("password", "string", "the value of the key password", secret=True),
        pegbook.Arg("reload", "list", "a command that is run when something has changed", elem="string"),
    )

    def propose(self, call, args):
        wanted = {key: str(value) for key, value in args["values"].items()}
        if args["password"]:
            wanted["password"] = args["password"]
        file = call.host.look(args["path"], follow=True, content=1 << 20)
        if file.kind == "directory":
            raise pegbook.Error(f"{args['path']} is a directory; give the path of a file")
        before = (file.data or b"").decode()
        after = merge(before, wanted)
        proposal = pegbook.Proposal(output={"path": args["path"], "keys": sorted(wanted)})
        if after == before:
            return proposal
        proposal.diff = [pegbook.diff(args["path"], before, after, secret=bool(args["password"]))]
        changes = [pegbook.write(args["path"], after)]
        if not args["reload"]:
            proposal.changes = changes
            return proposal

        def carry_out(host):
            host.apply(*changes)
            call.note("reloading")
            host.run(args["reload"])

        proposal.do = carry_out
        return proposal


def merge(text, wanted):
    lines, left = [], dict(wanted)
    for line in text.splitlines():
        key = line.split("=")[0].strip()
        lines.append(f"{key} = {left.pop(key)}" if "=" in line and key in left else line)
    lines += [f"{key} = {value}" for key, value in sorted(left.items())]
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    pegbook.serve(KeyValue())
