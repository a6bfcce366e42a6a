"""Attempts to leave something in a clone that runs, or misleads git, outside: judged after the harvest and the import.

SING is a command that makes a canary sing outside. `naive` is what proves that it could: the same tree, and git simply
run on it. SOURCE is the repository, OBJECTS its object directory, which the clone borrows from.
"""

# ruff: noqa: E501 - scripts

from tests.escapes import Planting

PLANTING = (
    Planting(
        name="plant hooks",
        script='mkdir -p .git/hooks; git config core.hooksPath .git/hooks; for h in pre-commit post-commit post-checkout post-index-change reference-transaction pre-auto-gc; do printf "#!/bin/sh\\n$SING\\n" >.git/hooks/$h; chmod +x .git/hooks/$h; done',
    ),
    Planting(
        name="plant a folder of hooks (core.hooksPath)",
        script='mkdir h; printf "#!/bin/sh\\n$SING\\n" >h/pre-commit; chmod +x h/pre-commit; git config core.hooksPath h',
    ),
    Planting(name="plant core.fsmonitor", script='git config core.fsmonitor "$SING; false"'),
    Planting(name="plant an alias", script='git config alias.st "!$SING"'),
    Planting(
        name="plant a filter driver",
        script='git config filter.x.clean "$SING; cat"; git config filter.x.required true; echo "* filter=x" >.gitattributes; echo new >new',
    ),
    Planting(
        name="plant a filter by info/attributes",
        script='git config filter.x.clean "$SING; cat"; mkdir -p .git/info; echo "* filter=x" >.git/info/attributes; echo new >new',
    ),
    Planting(
        name="plant a filter by an included file",
        script='printf "[filter \\"x\\"]\\n\\tclean = $SING; cat\\n" >more; git config include.path ../more; echo "* filter=x" >.gitattributes',
    ),
    Planting(
        name="plant configuration for this work tree",
        script='git config extensions.worktreeConfig true; git config --worktree core.fsmonitor "$SING; false"',
    ),
    Planting(
        name="plant a program to compare with (diff.external, textconv)",
        script='git config diff.external "$SING; true"; echo change >>file',
    ),
    Planting(
        name="plant an editor, a pager and an ssh command",
        script='git config core.editor "$SING"; git config core.pager "$SING"; git config core.sshCommand "$SING"; git config sequence.editor "$SING"',
        naive=False,
    ),
    Planting(
        name="plant a program that signs",
        script='printf "#!/bin/sh\\n$SING\\n" >sign; chmod +x sign; git config gpg.program ./sign; git config commit.gpgSign true',
    ),
    Planting(
        name="plant a submodule whose URL is a command",
        script='git config protocol.ext.allow always; printf "[submodule \\"s\\"]\\n\\tpath = s\\n\\turl = ext::sh -c $SING\\n" >.gitmodules; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),s',
        naive=False,
    ),
    Planting(
        name="plant a repository in the work tree, with hooks of its own",
        script='git init -q inner; cd inner; echo x >x; git add x; git commit -qm x; git config core.fsmonitor "$SING; false"',
        naive=False,
    ),
    Planting(
        name="put a file in the place of .git that names the source",
        script='mv .git ../.git 2>/dev/null; rm -rf .git; echo "gitdir: $SOURCE/.git" >.git',
        naive=False,
    ),
    Planting(
        name="put a symbolic link to the source's .git in the place of .git",
        script='rm -rf .git; ln -s "$SOURCE/.git" .git',
        naive=False,
    ),
    Planting(
        name="share the refs of the source (commondir)",
        script='echo "$SOURCE/.git" >.git/commondir; echo x >x',
        naive=False,
    ),
    Planting(
        name="make branches of the clone links to those of the source",
        script='rm -rf .git/refs; ln -s "$SOURCE/.git/refs" .git/refs; git commit -q --allow-empty -m moved',
        none="gets out",
        naive=False,
    ),
    Planting(
        name="make the index a link to a file outside",
        script='rm -f .git/index; ln -s "$OUTSIDE" .git/index; echo x >x',
        naive=False,
    ),
    Planting(
        name="make HEAD and the lock files links to a file outside",
        script='rm -f .git/HEAD; ln -s "$OUTSIDE" .git/HEAD; ln -s "$OUTSIDE" .git/index.lock; ln -s "$OUTSIDE" .git/config.lock',
        naive=False,
    ),
    Planting(
        name="move a ref of the source",
        script='git --git-dir="$SOURCE/.git" update-ref refs/heads/main HEAD~0^ || echo "$MARK" >"$SOURCE/.git/refs/heads/$MARK"',
        none="gets out",
        naive=False,
    ),
    Planting(
        name="push to the source",
        script='git commit -q --allow-empty -m mine; git push -q "$SOURCE" HEAD:refs/heads/pushed',
        none="gets out",
        naive=False,
    ),
    Planting(
        name="write to the source's objects, which the clone borrows",
        script='for f in "$OBJECTS"/??/*; do chmod u+w "$f"; echo "$MARK" >>"$f"; done',
        none="gets out",
        naive=False,
    ),
    Planting(
        name="write to the source's objects by hard links",
        script='for f in "$OBJECTS"/??/*; do ln "$f" linked && { chmod u+w linked; echo "$MARK" >>linked; rm -f linked; }; done',
        none="gets out",
        naive=False,
    ),
    Planting(
        name="have objects borrowed from elsewhere (alternates)",
        script='mkdir -p .git/objects/info; echo "${OUTSIDE%/*}" >.git/objects/info/alternates; echo x >x',
        naive=False,
    ),
    Planting(
        name="replace objects (refs/replace, grafts)",
        script="git replace -f HEAD $(git commit-tree HEAD^{tree} -m other); git rev-parse HEAD >.git/info/grafts; echo x >x",
        naive=False,
    ),
    Planting(
        name="hide history (shallow)",
        script="git rev-parse HEAD >.git/shallow; echo x >x; git add x; git commit -qm x",
        naive=False,
    ),
    Planting(
        name="commit a link to a file outside",
        script='ln -s "$OUTSIDE" way; ln -s "${OUTSIDE%/*}" folder; git add -A; git commit -qm links',
        naive=False,
    ),
    Planting(
        name="commit a path that leads into .git",
        script='b=$(printf "[core]\\n\\tfsmonitor = $SING\\n" | git hash-object -w --stdin); t=$(printf "100644 blob $b\\tconfig\\n" | git mktree); t=$(printf "040000 tree $t\\t.GIT\\n" | git mktree); git reset -q --soft $(git commit-tree $t -p HEAD -m evil); git read-tree HEAD',
        naive=False,
    ),
    Planting(
        name="commit a path with `..`",
        script="""
python3 -c "import os, sys; sys.stdout.buffer.write(b'100644 ..\\0' + bytes.fromhex(os.popen('git rev-parse HEAD:file').read()))" >t
c=$(git commit-tree $(git hash-object -t tree -w --literally t) -p HEAD -m evil) && echo $c >.git/refs/heads/work
""",
        naive=False,
    ),
    Planting(
        name="leave a damaged object",
        script='git commit -q --allow-empty -m x; f=$(git rev-parse HEAD | sed "s|..|.git/objects/&/|"); chmod u+w $f; echo broken >$f; echo x >x',
        naive=False,
    ),
    Planting(
        name="leave pipes and sockets that whoever reads waits on",
        script="rm -rf .git/HEAD .git/index .git/refs; mkfifo .git/packed-refs .git/HEAD .git/index pipe; echo x >x",
        naive=False,
    ),
    Planting(
        name="name a file so that it takes over a terminal",
        script="touch \"$(printf 'a\\033]0;owned\\007\\nb')\"; git add -A; git commit -qm \"$(printf 'subject \\033[2J')\"",
        naive=False,
    ),
)
