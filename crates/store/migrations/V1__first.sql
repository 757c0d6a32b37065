-- Both engines run this text: TEXT, BIGINT and BYTEA only, times in microseconds since 1970, flags as 0 and 1, ids in their one textual spelling.
-- On PostgreSQL the database has the C collation, so that text sorts by its bytes on both.
-- WITHOUT ROWID is for SQLite and taken out for PostgreSQL; tables of long rows go without it.
-- Indices follow the questions that are asked; the partial ones hold what is open, so that history costs nothing.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
) WITHOUT ROWID;

CREATE TABLE data_keys (
    id BIGINT NOT NULL PRIMARY KEY,
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    state TEXT NOT NULL
);

CREATE TABLE signing_keys (
    kid TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    private_key BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE persons (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    active BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    realm TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT REFERENCES persons (id),
    active BIGINT NOT NULL,
    password BYTEA,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    UNIQUE (realm, name)
);
CREATE INDEX accounts_person ON accounts (person);

CREATE TABLE groups (
    name TEXT NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE memberships (
    group_name TEXT NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
    person TEXT NOT NULL REFERENCES persons (id),
    since BIGINT NOT NULL,
    countersigned BIGINT NOT NULL,
    PRIMARY KEY (group_name, person)
) WITHOUT ROWID;
CREATE INDEX memberships_person ON memberships (person);

CREATE TABLE authenticators (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL REFERENCES persons (id),
    factor TEXT NOT NULL,
    secret BYTEA NOT NULL,
    state TEXT NOT NULL,
    last_step BIGINT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    countersigned BIGINT NOT NULL
);
CREATE INDEX authenticators_person ON authenticators (person, state);

CREATE TABLE throttles (
    subject TEXT NOT NULL,
    source TEXT NOT NULL,
    version BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    open_at BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    PRIMARY KEY (subject, source)
) WITHOUT ROWID;
CREATE INDEX throttles_strangers ON throttles (open_at) WHERE succeeded = 0;

-- The failures in a row over all sources: a row of its own, so that no source can have its name.
CREATE TABLE throttle_totals (
    subject TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    fresh_at BIGINT NOT NULL,
    fresh_factor TEXT NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX sessions_account ON sessions (account);
CREATE INDEX sessions_expiry ON sessions (expires_at, id);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    name TEXT NOT NULL,
    owner TEXT NOT NULL REFERENCES accounts (id),
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX tokens_owner ON tokens (owner, id);
CREATE INDEX tokens_live ON tokens (expires_at, id) WHERE revoked_at IS NULL;

CREATE TABLE policies (
    digest BYTEA NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    active BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    activated_at BIGINT
);
-- One active policy, whatever races.
CREATE UNIQUE INDEX policies_active ON policies (active) WHERE active = 1;

-- person: who asked; about: whom an administrative change names. Both are NULL once that person is erased.
-- is_open: pending, or with a live grant. live_until: the end of a live grant, else NULL. state: the whole request as JSON.
CREATE TABLE requests (
    id TEXT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    stage TEXT NOT NULL,
    account TEXT NOT NULL,
    person TEXT,
    about TEXT,
    fingerprint BYTEA NOT NULL,
    deadline BIGINT NOT NULL,
    is_open BIGINT NOT NULL,
    live_until BIGINT,
    state TEXT NOT NULL
);
CREATE INDEX requests_open ON requests (fingerprint, account) WHERE is_open = 1;
CREATE INDEX requests_account ON requests (account, id);
CREATE INDEX requests_person ON requests (person, id);
CREATE INDEX requests_open_person ON requests (person) WHERE is_open = 1;
CREATE INDEX requests_about ON requests (about, id) WHERE about IS NOT NULL;

CREATE TABLE inbox (
    group_name TEXT NOT NULL,
    deadline BIGINT NOT NULL,
    request TEXT NOT NULL,
    PRIMARY KEY (group_name, deadline, request)
) WITHOUT ROWID;
CREATE INDEX inbox_request ON inbox (request);

CREATE TABLE evidence (
    request TEXT NOT NULL,
    person TEXT NOT NULL,
    person_name TEXT NOT NULL,
    factor TEXT NOT NULL,
    authenticator TEXT NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    relayed_by TEXT,
    relayed_by_name TEXT,
    PRIMARY KEY (request, person)
) WITHOUT ROWID;

CREATE TABLE releases (
    id TEXT NOT NULL PRIMARY KEY,
    request TEXT NOT NULL,
    version BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    fingerprint BYTEA NOT NULL,
    state TEXT NOT NULL
);
CREATE INDEX releases_request ON releases (request, id);

CREATE TABLE timers (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    PRIMARY KEY (kind, subject)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (due_at);

-- A claim moves due_at to the end of the claim: a claimed message is one that is not due.
CREATE TABLE outbox (
    id TEXT NOT NULL PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    owner TEXT
) WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (due_at, id);

CREATE TABLE idempotency (
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    body BYTEA NOT NULL,
    request TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE entries (
    id TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    at BIGINT NOT NULL,
    request TEXT,
    person TEXT,
    bytes BYTEA NOT NULL,
    leaf_index BIGINT
);
CREATE UNIQUE INDEX entries_leaf ON entries (epoch, leaf_index) WHERE leaf_index IS NOT NULL;
CREATE INDEX entries_unsequenced ON entries (epoch, at, id) WHERE leaf_index IS NULL;
-- Whom an entry names, until that person is erased.
CREATE INDEX entries_person ON entries (person, at, id) WHERE person IS NOT NULL;
CREATE INDEX entries_request ON entries (request, at, id) WHERE request IS NOT NULL;

-- What the commitments of an entry stand for. Erasable: the entry verifies without it.
CREATE TABLE openings (
    entry TEXT NOT NULL PRIMARY KEY,
    opened TEXT NOT NULL
);

-- The widest version of each tile. Bundles are made from the entries.
CREATE TABLE tiles (
    epoch BIGINT NOT NULL,
    level BIGINT NOT NULL,
    n BIGINT NOT NULL,
    width BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (epoch, level, n)
);

-- closed: nothing is added any more, for ever. The newest epoch is closed while the service is stopped.
CREATE TABLE log_state (
    epoch BIGINT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    root BYTEA NOT NULL,
    closed BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    epoch BIGINT NOT NULL,
    size BIGINT NOT NULL,
    note TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (epoch, size)
);

-- What other processes on this database keep in memory and must hear of: tokens, sessions, accounts, persons, the policy, the epoch. The one row of
-- change_clock orders its commits, so that whoever has read number n never finds an older one later. Few commits write here; requests do not.
CREATE TABLE change_clock (
    id BIGINT NOT NULL PRIMARY KEY,
    n BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO change_clock (id, n) VALUES (1, 0);

CREATE TABLE changes (
    n BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL
) WITHOUT ROWID;

-- How far a sink that follows the log has come: the leaf that it gets next.
CREATE TABLE sink_positions (
    sink TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    next BIGINT NOT NULL
) WITHOUT ROWID;

-- Erasures on their way. The name goes with the row.
CREATE TABLE erasures (
    request TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    requests BIGINT NOT NULL
);

-- Keyed hashes of names that erased people bore: nobody new gets one of them.
CREATE TABLE erased_names (
    hash BYTEA NOT NULL PRIMARY KEY
);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until_at BIGINT NOT NULL
) WITHOUT ROWID;
