"""How a database is made, and brought to the form that a newer version needs, while it is in use.

An upgrade has two halves, so that the old and the new release can run side by side for one release:

- `flask db upgrade` runs the migrations that EXPAND: they add what the new release needs and take nothing from the
  old one.
- `flask db finish` says that no process of the old release runs any more, and runs those that CONTRACT: they convert
  what the old release wrote in between, and remove what only it needed.

What was done is recorded in the collection `schema`. All times are the primary's:

    {_id: "version", version, oldest, shape}
        `version`: the schema's version. `oldest`: the version of the oldest release that may use the database now.
        `shape`: a digest of the validators, indexes and rights that were made.
    {_id: "upgrade 2", version: 2, begun_at, expanded_at, finished_at}
        When the upgrade to version 2 began, before its first change; when the new release could start; and when
        `finish` was told that the old release had gone. Between `begun_at` and `finished_at` both may have written. As
        long as there is no `finished_at`, the old release still may. A database that was made with version 2 has no
        such document: no older release ever used it. `record.windows` reads these documents.
    {_id: "migration 3", version: 2, number: 3, name, phase, by, begun_at, done_at, position, notes}
        One document for each migration that began. `position`: how far it came, to go on from there. `notes`: what the
        operator has to decide. `by`: who ran it.
    {_id: "restore", version: 2, copy, done, by}
        The database is being restored, and no process may start on it. `copy`: the digest of the copy's manifest.
        `done`: the files that are in the database.

Modules: `steps` (what a migration is and can use), `version_2` (the migrations to version 2), `shape` (validators,
indexes, rights), `record` (the documents above), `run` (runs what is pending, under a lease).
"""
