"""Which flaws of old objects are followed: what git's fsck says of them, by its own names. Pure.

Old tools wrote commits and trees that fsck does not like, and the history of many repositories
begins with them; rewriting it is nobody's choice. A mirror has no work tree, and what it reads is
bounded and checked where it is read, so flaws of authors, dates, modes and of files that only a
work tree gives a meaning are let pass. What makes a path or a difference ambiguous (names such as
`..`, unsorted or doubled entries, objects that cannot be parsed) still ends the fetch.
"""

from __future__ import annotations

# https://git-scm.com/docs/git-fsck#_fsck_messages; git warns of those it does not know.
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
"""git configuration of a fetch."""
