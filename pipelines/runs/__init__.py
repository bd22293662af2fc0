"""git and DVC: data versions, run worktrees, run commits. The only package that imports DVC.

What others call::

    data_versions.commit_landing(settings, landing: Path, message: str) -> DataVersion
    data_versions.latest_data_version(settings) -> DataVersion | None
        DataVersion(commit, listings: {table: md5}, date, changed: ("events/2017-W48.parquet", ...)); .to_dict()
    data_versions.changes_of(settings, landing: Path) -> ("events/2017-W48.parquet", ...)
    start.ChampionPin(version: str, digest: str, run: str, package: Path)
    start.start_run(settings, champion: ChampionPin | None, code: str | None = None) -> Start
        Start(commit, code_commit, data_commit, dirty, champion_version, champion_digest, reused_run);
            .to_dict(), Start.from_dict()
    worktrees.prepare_worktree(settings, start: str, run_id: str) -> Path      made once, found again by retries
    worktrees.run_folder(settings, run_id: str) -> Path                        logs, requests, landing
    stage_runner.StageRequest(stage, start, run_id, graph_sha256, upstream: {stage: lock entry})
    stage_runner.run_stage(settings, request) -> StageResult
        StageResult(stage, lock_entry, cached, seconds, error); .to_dict()
    run_commits.finish_run(settings, start: Start, lock_entries: {stage: lock entry}, run_id: str) -> RunCommit
        RunCommit(commit, ref, start, code_commit, data_commit, dirty, champion_version, champion_digest, run_id, time)
    run_commits.list_runs(settings) -> list[RunCommit]                          newest first
    run_commits.find_run(settings, name: str) -> RunCommit                      a ref, a commit or an Airflow run id
    run_commits.read_lock(settings, run: RunCommit) -> {stage: lock entry}
    run_commits.fetch_output(settings, run: RunCommit, path: str, destination: Path) -> Path
    gc.plan(settings, keep: int, keep_runs: Collection[str]) -> Garbage; gc.collect(settings, garbage) -> int (bytes)

As processes (the first prints its data version as JSON, the second writes RESULT.json; either ends with one clear
error and exit status 1)::

    python -m pipelines.runs.data_versions --landing DIRECTORY --message TEXT
    python -m pipelines.runs.stage_runner REQUEST.json RESULT.json

``stage_runner`` makes itself the leader of a process group that holds the stage's command too: to cancel, kill the
group of its process id. It writes RESULT.json whatever happens to the stage (``error`` is then the stage's own text,
and the exit status 1); no RESULT.json means that the runner itself was killed.

A lock entry is what DVC writes for a stage under ``stages:`` in ``dvc.lock``: ``{"cmd", "deps", "params", "outs"}``,
each dep and out as ``{"path", "hash": "md5", "md5", "size", "nfiles"}``; a directory's md5 ends in ``.dir``.
"""
