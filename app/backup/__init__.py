"""Copies of the whole bank in files: made while it works, proved without a database, restored into an empty one.

A copy shows the bank at one time of the cluster, T. It is read in two steps:

1. Everything that can change is read in one snapshot session, which sees it as of T: users, accounts, transactions and
   their statuses, the audit log, mail, sessions, and the head of every journal. MongoDB keeps the history for such
   reads for `minSnapshotHistoryWindowInSeconds`, 5 minutes by default. If the step takes longer, what was read is
   useless, because nobody can tell afterwards which status a record had at T. Then all of it is read again as of a
   later T.
2. Entries are only ever added, and each journal numbers them without gaps. So the entries at time T are exactly those
up to the head that step 1 read, whenever they are read. This step needs no history. It is by far the longest, and after
an interruption, however long, it continues from the last complete file.

The directory (0700, its files 0600):

    NAME-0001.bson.gz   documents of a collection as BSON, one after the other, in gzip, as `mongodump --gzip` writes
    heads.gz            a line for each account: its id, the sequence and the hash of its newest entry
    manifest.json       what belongs to the copy: counts, and the SHA-256 of each file. It is written last
    incomplete.json     the same so far, and where to continue. While it is there, the copy is incomplete

`leases` is not copied, because it only says which process does what just now.
"""
