"""Flaws in old objects that a fetch accepts, by the names of git's fsck. Pure.

Old tools wrote commits and trees that fsck rejects. Many repositories contain them and cannot
rewrite their history. A mirror has no work tree, and its readers bound and check what they read, so
a fetch ignores flaws in authors, dates and modes, and in files that matter only in a work tree.
Flaws that make a path or a diff ambiguous (names such as `..`, unsorted or duplicate entries,
objects that cannot be parsed) still fail the fetch.
"""

from __future__ import annotations

# https://git-scm.com/docs/git-fsck#_fsck_messages; git only warns about unknown names.
_LET_PASS = (
    *("zeroPaddedFilemode", "badFilemode"),
    *("badTimezone", "badDate", "badDateOverflow", "zeroPaddedDate", "missingSpaceBeforeDate"),
    *("badEmail", "badName", "missingEmail", "missingNameBeforeEmail", "missingSpaceBeforeEmail"),
    *("multipleAuthors", "missingAuthor", "missingCommitter", "nulInCommit"),
    *("missingTaggerEntry", "badTagName", "missingTag", "missingTagEntry", "extraHeaderEntry"),
    *("gitmodulesBlob", "gitmodulesLarge", "gitmodulesMissing", "gitmodulesName"),
    *("gitmodulesParse", "gitmodulesPath", "gitmodulesSymlink", "gitmodulesUpdate"),
    *("gitmodulesUrl", "gitattributesBlob", "gitattributesLarge", "gitattributesLineLength"),
    *("gitattributesMissing", "gitattributesSymlink", "gitignoreSymlink", "mailmapSymlink"),
)

SETTINGS = {f"fetch.fsck.{flaw}": "ignore" for flaw in _LET_PASS}
"""The git configuration of a fetch."""
