-- The fenced metadata log of one cluster. docs/format/postgres-log.md says what each column means; @ stands for the schema.

-- Which log this is. One row.
CREATE TABLE @.log (
  one        boolean PRIMARY KEY DEFAULT true CHECK (one),
  cluster    text NOT NULL,
  id         text NOT NULL,
  origin     text NOT NULL DEFAULT '',
  copied_to  bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The end of each shard's log. Every append changes this row, so room is left for its next versions on the same page.
CREATE TABLE @.shard (
  shard    integer PRIMARY KEY,
  term     bigint NOT NULL DEFAULT 0,
  next     bigint NOT NULL DEFAULT 0,
  head     bytea NOT NULL,
  prev     bytea NOT NULL,
  boundary bigint NOT NULL DEFAULT 0,
  owner    bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 20);

-- What readers write to, so that the answer they get has been made durable like any other commit.
CREATE TABLE @.touch (
  shard integer PRIMARY KEY,
  n     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

CREATE TABLE @.entry (
  shard integer NOT NULL,
  seq   bigint NOT NULL,
  term  bigint NOT NULL,
  kind  smallint NOT NULL,
  id    bytea NOT NULL,
  prev  bytea NOT NULL,
  hash  bytea NOT NULL,
  at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  body  bytea NOT NULL,
  PRIMARY KEY (shard, seq)
);
ALTER TABLE @.entry ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE TABLE @.snapshot (
  shard integer NOT NULL,
  seq   bigint NOT NULL,
  term  bigint NOT NULL,
  chain bytea NOT NULL,
  size  bigint NOT NULL,
  sum   bytea NOT NULL,
  at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (shard, seq)
);

CREATE TABLE @.snapshot_part (
  shard integer NOT NULL,
  seq   bigint NOT NULL,
  part  integer NOT NULL,
  body  bytea NOT NULL,
  PRIMARY KEY (shard, seq, part),
  FOREIGN KEY (shard, seq) REFERENCES @.snapshot ON DELETE CASCADE
);
ALTER TABLE @.snapshot_part ALTER COLUMN body SET STORAGE EXTERNAL;
