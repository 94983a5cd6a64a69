"""Git repositories as tools that only read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lanemesh import ToolNode, tool
from lanemesh.extend import CallFailed, in_thread
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from lanemesh_services.tools.folders import Folder
from lanemesh_services.tools.git_repository import GitRepository, checked_path, checked_revision

PathOf = Annotated[str, Field(max_length=4_096)]
Revision = Annotated[str, Field(max_length=500)]
_FORMAT = "--format=%H %as %an%n    %s"
_WHOLE = "--format=commit %H%nauthor %an <%ae>%ndate %aI%n%n%B"
_PLAIN = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "--no-color")


class ToolGit(ToolNode):
    """Offers Git repositories below a folder as tools: status, log, diff, show, blame and grep. They only read.

    Nothing that a repository configures is run: no hooks, external diffs, filters, pagers, signature checks or transports.
    """

    class Config(BaseModel):
        """Settings of the repositories. `root` or `repoPath` is set."""

        model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["root"]}, {"required": ["repoPath"]}]})

        root: str | None = Field(
            None,
            description="Path of the folder: a repository, or one that has several.",
            json_schema_extra={"format": "path"},
        )
        repoPath: str | None = Field(
            None,
            description="The same as root; documents of RocketRide call it so.",
            json_schema_extra={"format": "path"},
        )
        authType: str | None = Field(
            None, max_length=40, description="Accepted from documents of RocketRide, without effect: no remote is read."
        )
        token: SecretStr | None = Field(
            None, description="Accepted from documents of RocketRide, without effect: no remote is read."
        )
        safeMode: Literal[True] = Field(True, description="Accepted from documents of RocketRide: the tools only read.")
        timeout: float = Field(30, gt=0, le=600, description="Time limit of a call, in seconds.")
        max_bytes: int = Field(100_000, ge=1_000, le=2_000_000, description="Most bytes that one call returns.")

    @classmethod
    async def load(cls, config: Any) -> Folder:
        """Resolves the folder. Raises LanemeshError if there is none."""
        return await in_thread(lambda: Folder.of(cls.provider, config.root or config.repoPath or "", hidden=False))

    @tool
    async def git_status(self, repository: PathOf = ".") -> str:
        """The branch, and the files that are changed, staged or not tracked.

        Args:
            repository: Path of the repository, relative to the root.
        """
        return await self._run(repository, "status", "--short", "--branch", "--ignore-submodules=all")

    @tool
    async def git_log(
        self,
        revision: Revision = "HEAD",
        path: PathOf | None = None,
        text: Annotated[str, Field(max_length=500)] | None = None,
        limit: Annotated[int, Field(ge=1, le=1_000)] = 20,
        repository: PathOf = ".",
    ) -> str:
        """Commits, the newest first: hash, date, author and subject.

        Args:
            revision: Branch, commit or range, such as "main" or "v1..HEAD".
            path: Only commits that change this file or folder.
            text: Only commits whose message contains this text.
            limit: Most commits.
            repository: Path of the repository, relative to the root.
        """
        chosen = ["--fixed-strings", "--regexp-ignore-case", f"--grep={text}"] if text else []
        options = [f"--max-count={limit}", _FORMAT, "--no-show-signature", "--no-mailmap", "--no-color", *chosen]
        return await self._run(repository, "log", *options, *_at(revision), *_paths(path))

    @tool
    async def git_diff(
        self,
        revision: Revision | None = None,
        staged: bool = False,
        path: PathOf | None = None,
        stat: bool = False,
        repository: PathOf = ".",
    ) -> str:
        """Differences: of the working tree to the index by default, to a revision, or between two revisions.

        Args:
            revision: A revision, or two as "main..topic".
            staged: Those of the index, which the next commit would have.
            path: Only those of this file or folder.
            stat: Only the numbers of changed lines by file.
            repository: Path of the repository, relative to the root.
        """
        options = [*_PLAIN, *(["--cached"] if staged else []), *(["--stat"] if stat else [])]
        return await self._run(repository, "diff", *options, *(_at(revision) if revision else []), *_paths(path))

    @tool
    async def git_show(
        self, revision: Revision = "HEAD", path: PathOf | None = None, stat: bool = False, repository: PathOf = "."
    ) -> str:
        """A commit with its changes, or a file as it was at a revision.

        Args:
            revision: The commit, or a file of one, such as "HEAD~3:src/a.py".
            path: Only the changes of this file or folder.
            stat: Only the numbers of changed lines by file.
            repository: Path of the repository, relative to the root.
        """
        options = [*_PLAIN, _WHOLE, "--no-show-signature", "--no-mailmap", *(["--stat"] if stat else [])]
        return await self._run(repository, "show", *options, *_at(revision), *_paths(path))

    @tool
    async def git_blame(
        self,
        path: PathOf,
        start: Annotated[int, Field(ge=1)] = 1,
        lines: Annotated[int, Field(ge=1, le=2_000)] = 100,
        revision: Revision | None = None,
        repository: PathOf = ".",
    ) -> str:
        """The commit, author and date of each line of a file.

        Args:
            path: The file.
            start: The first line, from 1.
            lines: Most lines.
            revision: As of this revision; default: the working tree.
            repository: Path of the repository, relative to the root.
        """
        options = ["--no-textconv", "--date=short", f"-L{start},+{lines}"]
        if revision is None:
            found = await in_thread(GitRepository.at, self.resource, repository)
            await in_thread(found.check_link, checked_path(path))
        at = [checked_revision(revision)] if revision else []
        return await self._run(repository, "blame", *options, *at, "--", checked_path(path))

    @tool
    async def git_grep(
        self,
        pattern: Annotated[str, Field(min_length=1, max_length=500)],
        regex: bool = False,
        ignore_case: bool = False,
        revision: Revision | None = None,
        path: PathOf | None = None,
        repository: PathOf = ".",
    ) -> str:
        """Lines of tracked files that contain a text: file, line number and line.

        Args:
            pattern: The text.
            regex: The text is an extended regular expression.
            ignore_case: Upper and lower case are the same.
            revision: In the files of this revision; default: as staged.
            path: Only in this file or folder.
            repository: Path of the repository, relative to the root.
        """
        options = ["--line-number", "-I", "--no-textconv", "--no-color", "--no-recurse-submodules"]
        options += ["--extended-regexp" if regex else "--fixed-strings", *(["--ignore-case"] if ignore_case else [])]
        at = [checked_revision(revision)] if revision else []
        options += [] if revision else ["--cached"]  # in the working tree, Git would follow links out of the repository
        return await self._run(repository, "grep", *options, "-e", pattern, *at, *_paths(path), empty_code=1)

    async def _run(self, repository: str, *arguments: str, empty_code: int = 0) -> str:
        """The output of a command. `empty_code`: it may end with this code if it has found nothing."""
        found = await in_thread(GitRepository.at, self.resource, repository)
        ended = await found.run(*arguments, timeout=self.config.timeout, limit=self.config.max_bytes)
        text = ended.output.decode("utf-8", "replace")
        if ended.cut:
            return f"{text}\n[only the first {len(ended.output):,} bytes]"
        if ended.code not in (0, empty_code):
            why = ended.errors.decode("utf-8", "replace").strip().splitlines()
            raise CallFailed("git-failed", f"git {arguments[0]} failed: {' '.join(why)[:500] or f'code {ended.code}'}")
        return text


def _at(revision: str) -> list[str]:
    return ["--end-of-options", checked_revision(revision)]


def _paths(path: str | None) -> list[str]:
    return ["--", checked_path(path)] if path else ["--"]
