-- The nouns. Every tenant table carries its account; a copy or job of another region than the account's is refused by
-- constraint. Lock order everywhere: recording, segment, file, job, copy.

create table rushes.account (
	id uuid primary key default gen_random_uuid(),
	name text not null check (length(name) between 1 and 200),
	region text not null check (region ~ '^[a-z0-9]{1,16}$'),
	-- public, for pages that embed the recorder and for object names
	hash text not null unique check (hash ~ '^[a-z0-9]{20,40}$'),
	zone text not null default 'Europe/Bucharest',
	plan text not null default 'trial' check (plan in ('trial', 'paid')),
	trial_ends_at timestamptz,
	paid_until timestamptz,
	closed_at timestamptz,
	operator_may_read boolean not null default false,
	rules_version bigint not null default 1,
	created_at timestamptz not null default rushes.rushes_now(),
	unique (id, region)
);
-- when it ended or ends; closed ones first
create index account_ended on rushes.account ((case when closed_at is not null then '-infinity'::timestamptz
	when plan = 'trial' then trial_ends_at else paid_until end));

-- The account's key, wrapped by spool-root. Made by the first ingest that needs it.
create table rushes.account_key (
	account uuid not null references rushes.account,
	id uuid not null,
	root_key text not null,
	wrapped bytea not null,
	created_at timestamptz not null default rushes.rushes_now(),
	primary key (account, id)
);
create unique index account_key_one on rushes.account_key (account);

create table rushes.environment (
	account uuid not null references rushes.account,
	id uuid not null default gen_random_uuid(),
	name text not null check (length(name) between 1 and 100),
	conversion text not null default 'always' check (conversion in ('always', 'never')),
	store_ours boolean not null default true,
	do_not_store boolean not null default false,
	backup text not null default 'keep' check (backup in ('keep', 'until-delivered')),
	success text not null default 'main' check (success in ('main', 'all')),
	push_raw boolean not null default true,
	push_snapshot boolean not null default true,
	push_filmstrip boolean not null default true,
	-- send: `stop` releases the take by itself, without `send`
	send_on_stop boolean not null default false,
	broken_off text not null default 'recovered' check (broken_off in ('recovered', 'discarded')),
	reconnect_window interval not null default '90 min',
	playback_window interval not null default '60 min',
	max_bytes bigint not null default 10737418240 check (max_bytes > 0),
	max_duration interval not null default '2 h',
	-- a connection that brings neither bytes nor messages for so long is ended; the take may go on by another
	max_idle interval not null default '30 min',
	consent_text text not null default
		'The recording of your screen, camera and voice is sent to the support team, who use it to answer your request.',
	rules_version bigint not null default 1,
	created_at timestamptz not null default rushes.rushes_now(),
	primary key (account, id),
	unique (account, name),
	check (not (store_ours and do_not_store))
);

create table rushes.api_key (
	account uuid not null references rushes.account,
	id uuid not null default gen_random_uuid(),
	name text not null,
	-- HMAC-SHA-256 of the secret under link-pepper
	secret_hash bytea not null,
	scopes text[] not null,
	created_at timestamptz not null default rushes.rushes_now(),
	revoked_at timestamptz,
	last_used_at timestamptz,
	primary key (account, id)
);
create unique index api_key_id on rushes.api_key (id);

create table rushes.target (
	id uuid primary key default gen_random_uuid(),
	owner text not null check (owner in ('ours', 'client')),
	account uuid references rushes.account,
	region text not null,
	name text not null,
	kind text not null check (kind in ('file', 's3', 'ftp', 'ftps', 'sftp', 'dropbox')),
	-- host, port, bucket, path, pinned key, storage classes: never a secret
	endpoint jsonb not null,
	-- sealed to the vault's public key; write-only
	credential bytea,
	-- delete the client's files with ours
	delete_at_target boolean not null default false,
	created_at timestamptz not null default rushes.rushes_now(),
	disabled_at timestamptz,
	check ((owner = 'ours') = (account is null)),
	unique (id, region),
	foreign key (account, region) references rushes.account (id, region)
);
create unique index target_name on rushes.target (coalesce(account, '00000000-0000-0000-0000-000000000000'), name);

create table rushes.environment_target (
	account uuid not null,
	environment uuid not null,
	target uuid not null references rushes.target,
	primary key (account, environment, target),
	foreign key (account, environment) references rushes.environment (account, id)
);

-- For webhook jobs; nothing reads it before them.
create table rushes.webhook_endpoint (
	account uuid not null references rushes.account,
	id uuid not null default gen_random_uuid(),
	url text not null,
	events text[] not null,
	secret bytea not null,
	created_at timestamptz not null default rushes.rushes_now(),
	disabled_at timestamptz,
	primary key (account, id)
);

create table rushes.link (
	account uuid not null,
	id uuid not null,
	environment uuid not null,
	-- HMAC-SHA-256 of the code under link-pepper: the code itself is nowhere
	code_hash bytea not null unique,
	created_at timestamptz not null default rushes.rushes_now(),
	created_by text not null,
	expires_at timestamptz not null,
	uses_max integer not null default 1 check (uses_max between 1 and 10000),
	uses integer not null default 0,
	revoked_at timestamptz,
	-- the requester's data: agent's name, subject, ticket, customer; bounded by the API
	requester jsonb not null default '{}',
	idempotency_key text,
	primary key (account, id),
	foreign key (account, environment) references rushes.environment (account, id)
);
create unique index link_idempotency on rushes.link (account, idempotency_key) where idempotency_key is not null;
create index link_expiry on rushes.link (expires_at);

create table rushes.session (
	account uuid not null,
	id uuid not null,
	link uuid,
	environment uuid not null,
	-- SHA-256 of the secret by which the page takes its session up again after a reload
	resume_hash bytea not null,
	consent_text text not null,
	consent_at timestamptz not null,
	created_at timestamptz not null default rushes.rushes_now(),
	expires_at timestamptz not null,
	revoked_at timestamptz,
	primary key (account, id),
	foreign key (account, environment) references rushes.environment (account, id),
	foreign key (account, link) references rushes.link (account, id)
);
create unique index session_id on rushes.session (id);
create index session_link on rushes.session (account, link);

create table rushes.node (
	-- the UUID of the spool's superblock, never a host name
	id uuid primary key,
	region text not null,
	service text not null check (service in ('ingest', 'transcoder')),
	peer_url text not null,
	state text not null default 'active' check (state in ('active', 'read-only', 'retiring', 'retired')),
	capacity_bytes bigint not null default 0,
	free_bytes bigint not null default 0,
	registered_at timestamptz not null default rushes.rushes_now(),
	beat_at timestamptz not null default rushes.rushes_now(),
	-- what the spool's own memory is compared with: beats so far, null: take over what it says (0090_gate.sql)
	beats bigint default 0,
	-- while restoring: when it beat last, whether it has seen more beats than there are here, when its files were counted
	witnessed_at timestamptz,
	is_ahead boolean not null default false,
	inventory_at timestamptz,
	retired_at timestamptz,
	-- who vouched that its disk is destroyed
	attested_by text,
	unique (id, region)
) with (fillfactor = 70);

create table rushes.recording (
	id uuid primary key,
	account uuid not null,
	region text not null,
	environment uuid not null,
	link uuid,
	session uuid,
	kind text not null default 'received' check (kind in ('received', 'sent', 'call')),
	state text not null default 'open' check (state in
		('open', 'saved', 'processed', 'closed', 'failed-copy', 'failed-conversion', 'deleting', 'deleted')),
	stream_epoch integer not null default 0,
	mime text,
	-- how it ended: attributes, not states
	stop text check (stop in ('user', 'limit', 'lost', 'upload')),
	-- an upload by tus: it may go on by another request; its length is null until the client told it
	is_tus boolean not null default false,
	upload_length bigint check (upload_length > 0),
	recovered boolean not null default false,
	truncated boolean not null default false,
	held boolean not null default false,
	bytes bigint,
	sha256 bytea check (length(sha256) = 32),
	expected_sha256 bytea check (length(expected_sha256) = 32),
	replaces uuid,
	opened_at timestamptz not null default rushes.rushes_now(),
	-- the last acknowledged byte that PostgreSQL knows of, or the return of the node that holds it
	last_byte_at timestamptz not null default rushes.rushes_now(),
	sent_at timestamptz,
	saved_at timestamptz,
	copied_at timestamptz,
	processed_at timestamptz,
	closed_at timestamptz,
	deleting_at timestamptz,
	delete_rule text,
	deleted_at timestamptz,
	-- personal metadata goes at this time
	personal_due_at timestamptz,
	-- when a rule takes the whole recording, which one, and when that date last moved earlier
	due_at timestamptz,
	due_rule text,
	due_earlier_at timestamptz,
	trace text,
	unique (id, region),
	foreign key (account, region) references rushes.account (id, region),
	foreign key (account, environment) references rushes.environment (account, id)
) with (fillfactor = 80);
create index recording_account on rushes.recording (account, opened_at);
create index recording_session on rushes.recording (session);
create index recording_open on rushes.recording (last_byte_at) where state = 'open';
create index recording_replaces on rushes.recording (replaces) where replaces is not null;
create index recording_deleting on rushes.recording (deleting_at) where state = 'deleting';
create index recording_due on rushes.recording (due_rule, due_at) where due_at is not null;
create index recording_environment on rushes.recording (account, environment, id) where state <> 'deleted';
create index recording_personal_due on rushes.recording (personal_due_at) where personal_due_at is not null;

create table rushes.recording_personal (
	recording uuid primary key references rushes.recording,
	account uuid not null,
	ip inet,
	user_agent text,
	devices jsonb,
	referrer text,
	file_name text,
	-- of an upload by tus, as the client gave it
	upload_metadata text
);

-- The recording's data key, wrapped by its account key; there only while a sealed copy exists. Shredding is its deletion:
-- vacuumed soon, so that the dead tuple does not stay.
create table rushes.recording_key (
	recording uuid primary key references rushes.recording,
	account uuid not null,
	account_key uuid not null,
	wrapped bytea not null,
	foreign key (account, account_key) references rushes.account_key (account, id)
) with (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

create table rushes.segment (
	recording uuid not null references rushes.recording,
	number integer not null check (number between 0 and 65535),
	account uuid not null,
	node uuid not null references rushes.node,
	epoch integer not null,
	state text not null default 'open' check (state in ('open', 'closed')),
	start_offset bigint not null check (start_offset >= 0),
	bytes bigint check (bytes >= 0),
	sha256 bytea check (length(sha256) = 32),
	crc32 bigint check (crc32 between 0 and 4294967295),
	-- its bytes count only when its writer has compared them with the client's checksum
	provisional boolean not null default false,
	opened_at timestamptz not null default rushes.rushes_now(),
	closed_at timestamptz,
	-- of the take, what a client that went on elsewhere said was acknowledged to it, while this segment stayed open on a node
	-- that did not answer
	acked bigint check (acked >= 0),
	primary key (recording, number)
);
create index segment_open on rushes.segment (node) where state = 'open';

create table rushes.file (
	id uuid primary key,
	recording uuid not null references rushes.recording,
	account uuid not null,
	kind text not null check (kind in ('raw', 'main', 'snapshot', 'filmstrip')),
	bytes bigint not null check (bytes >= 0),
	sha256 bytea not null check (length(sha256) = 32),
	-- container, codecs, size, duration_s: what the converter found
	facts jsonb not null default '{}',
	made_at timestamptz not null default rushes.rushes_now(),
	unique (recording, kind)
);

create table rushes.copy (
	id uuid primary key,
	recording uuid not null,
	account uuid not null,
	region text not null,
	-- of what: one segment, or one kind of file
	segment integer,
	kind text check (kind in ('raw', 'main', 'snapshot', 'filmstrip')),
	-- where: one spool, or one target
	node uuid,
	target uuid,
	state text not null check (state in ('incoming', 'present', 'going', 'lost', 'released')),
	location text not null,
	temporary text,
	upload_id text,
	-- the attempt that writes it, while incoming
	job uuid,
	attempt integer,
	encrypted_at_rest boolean,
	evidence jsonb,
	created_at timestamptz not null default rushes.rushes_now(),
	present_at timestamptz,
	going_at timestamptz,
	due_at timestamptz,
	rule text,
	due_earlier_at timestamptz,
	check (num_nonnulls(segment, kind) = 1),
	check (num_nonnulls(node, target) = 1),
	foreign key (recording, region) references rushes.recording (id, region),
	foreign key (recording, segment) references rushes.segment (recording, number),
	foreign key (node, region) references rushes.node (id, region),
	foreign key (target, region) references rushes.target (id, region)
) with (fillfactor = 80);
create index copy_recording on rushes.copy (recording);
-- what a sweep finds: the places of a rule, and what is due there
create index copy_due on rushes.copy (rule, coalesce(node, target), due_at) where state = 'present' and due_at is not null;
create index copy_going on rushes.copy (node, going_at) where state = 'going' and node is not null;
create index copy_incoming on rushes.copy (node) where state = 'incoming';
create index copy_node on rushes.copy (node, id) where node is not null;
create unique index copy_one_at_target on rushes.copy (target, recording, kind) where target is not null;

-- What became of the deliveries of a file, one row per target: kept as long as the recording, because due dates follow from it.
create table rushes.push (
	recording uuid not null references rushes.recording,
	file_kind text not null,
	target uuid not null references rushes.target,
	state text not null check (state in ('unfinished', 'done', 'failed', 'cancelled')),
	-- when it ended
	at timestamptz not null default 'infinity',
	primary key (recording, file_kind, target)
) with (fillfactor = 85);

create table rushes.job (
	id uuid primary key default gen_random_uuid(),
	kind text not null check (kind in ('copy', 'convert', 'push', 'delete', 'webhook')),
	account uuid not null,
	region text not null,
	recording uuid not null,
	-- of a push or delete
	file_kind text,
	target uuid,
	copy uuid,
	-- main 0, raw 1, snapshot 2, filmstrip 3: the order of pushes
	rank smallint not null default 0,
	-- the spool that the bytes bind it to
	node uuid,
	state text not null default 'queued' check (state in ('queued', 'running', 'waiting-for-node')),
	-- raised by every claim: the fence
	attempt integer not null default 0,
	-- 13 at most
	failures integer not null default 0,
	-- claims that were given back and cost nothing
	spared integer not null default 0,
	-- infinity: a copy job whose recording is still open
	next_attempt_at timestamptz not null default rushes.rushes_now(),
	-- a copy job whose recording is still open may be claimed early, by a follower, from then on
	early_at timestamptz not null default rushes.rushes_now(),
	-- <service>/<name>#<process>
	worker text,
	lease_until timestamptz,
	started_at timestamptz,
	publication integer not null default 0,
	published_at timestamptz,
	last_error text,
	trace text,
	created_at timestamptz not null default rushes.rushes_now(),
	foreign key (recording, region) references rushes.recording (id, region),
	foreign key (node, region) references rushes.node (id, region),
	foreign key (target, region) references rushes.target (id, region)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
	autovacuum_vacuum_cost_delay = 0);
create index job_due on rushes.job (kind, account, next_attempt_at) where state = 'queued';
create index job_publish on rushes.job (kind, next_attempt_at, rank) where state = 'queued';
create index job_running on rushes.job (id) where state = 'running';
create index job_waiting on rushes.job (id) where state = 'waiting-for-node';
create index job_recording on rushes.job (recording);

-- Finished jobs, attempts and events: day partitions that are dropped; ids only.
create table rushes.job_done (
	day date not null,
	id uuid not null,
	kind text not null,
	account uuid not null,
	recording uuid not null,
	file_kind text,
	target uuid,
	node uuid,
	state text not null check (state in ('done', 'failed', 'cancelled')),
	attempt integer not null,
	failures integer not null,
	last_error text,
	created_at timestamptz not null,
	finished_at timestamptz not null
) partition by range (day);
create index job_done_recording on rushes.job_done (recording);
create index job_done_id on rushes.job_done (id);

create table rushes.attempt (
	day date not null,
	job uuid not null,
	recording uuid not null,
	number integer not null,
	worker text,
	started_at timestamptz,
	ended_at timestamptz not null,
	outcome text not null check (outcome in ('done', 'failed', 'handed-back', 'lease-expired', 'cancelled')),
	class text,
	error text
) partition by range (day);
create index attempt_job on rushes.attempt (job);
create index attempt_recording on rushes.attempt (recording);

create table rushes.event (
	id bigint not null generated always as identity,
	day date not null,
	type text not null,
	account uuid,
	recording uuid,
	at timestamptz not null default rushes.rushes_now(),
	trace text,
	-- the ledger's entry that it tells of, which is sealed
	entry bigint,
	published_at timestamptz,
	primary key (id, day)
) partition by range (day);
create index event_unpublished on rushes.event (id) where published_at is null;
create index event_recording on rushes.event (recording);

create table rushes.job_done_default partition of rushes.job_done default;
create table rushes.attempt_default partition of rushes.attempt default;
create table rushes.event_default partition of rushes.event default;

create table rushes.lease (
	name text primary key,
	holder text not null,
	term bigint not null,
	expires_at timestamptz not null
) with (fillfactor = 50);

create table rushes.ledger (
	id bigint generated always as identity primary key,
	at timestamptz not null default rushes.rushes_now(),
	kind text not null check (kind in ('decided', 'gone', 'complete', 'found-late', 'hold-set', 'hold-lifted')),
	account uuid not null,
	-- null: the account itself
	recording uuid,
	copy uuid,
	rule text,
	place text,
	evidence jsonb not null default '{}',
	-- RFC 6962 leaf hash of the canonical text of the row: SHA-256(0x00 || text)
	hash bytea not null,
	-- the sealed batch it is in, and its leaf number there
	batch bigint,
	position integer
);
create index ledger_unsealed on rushes.ledger (id) where batch is null;
create unique index ledger_leaf on rushes.ledger (batch, position) where batch is not null;
create index ledger_recording on rushes.ledger (recording);
create index ledger_copy on rushes.ledger (copy);

-- Sealed batches: a Merkle root over the leaves (RFC 6962), linked to the batch before and signed.
create table rushes.ledger_batch (
	id bigint primary key check (id > 0),
	leaves integer not null check (leaves > 0),
	root bytea not null check (length(root) = 32),
	previous bytea not null check (length(previous) = 32),
	at timestamptz not null,
	key_id text not null,
	signature bytea not null check (length(signature) = 64),
	-- when the ledger target outside PostgreSQL had it
	published_at timestamptz
);
create index ledger_batch_unpublished on rushes.ledger_batch (id) where published_at is null;

create table rushes.audit (
	id bigint generated always as identity primary key,
	at timestamptz not null default rushes.rushes_now(),
	actor text not null,
	action text not null,
	account uuid,
	subject text,
	detail jsonb not null default '{}'
);
create index audit_subject on rushes.audit (subject);

-- Spool files that PostgreSQL answered it has never known, and since when.
create table rushes.unknown_file (
	node uuid not null references rushes.node,
	name text not null,
	first_answer_at timestamptz not null default rushes.rushes_now(),
	primary key (node, name)
);

-- Files of copies that neither tables nor ledger know: kept, until a person discards them.
create table rushes.lost_row (
	node uuid not null references rushes.node,
	copy uuid not null,
	account uuid not null,
	recording uuid not null,
	bytes bigint not null,
	first_seen_at timestamptz not null default rushes.rushes_now(),
	-- the walk over the spool that saw it last
	walk bigint not null,
	discarded_at timestamptz,
	primary key (node, copy)
);

-- Rules paused on a place by a brake or by a person; '*' is every rule or every place, 'clock' every place because the clock
-- jumped. Confirmed ones work again, and no
-- brake pauses them for a day.
create table rushes.retention_pause (
	rule text not null,
	place text not null,
	since timestamptz not null default rushes.rushes_now(),
	by text not null,
	reason text not null,
	confirmed_at timestamptz,
	primary key (rule, place)
);

-- Lifecycle rules of an environment: by age, by kind of recording, by kind of file. New ones are off until enabled.
create table rushes.lifecycle_rule (
	account uuid not null,
	environment uuid not null,
	name text not null check (length(name) between 1 and 100),
	age_days integer not null check (age_days between 1 and 36500),
	recording_kind text check (recording_kind in ('received', 'sent', 'call')),
	-- null: the whole recording
	file_kind text check (file_kind in ('raw', 'main', 'snapshot', 'filmstrip')),
	enabled boolean not null default false,
	created_at timestamptz not null default rushes.rushes_now(),
	primary key (account, environment, name),
	foreign key (account, environment) references rushes.environment (account, id)
);

-- Facts of an account or environment that changed: the recordings that are still to be recomputed. The janitor works it off.
create table rushes.rules_change (
	id bigint generated always as identity primary key,
	account uuid not null references rushes.account,
	-- null: all environments of the account
	environment uuid,
	-- the last recording that was recomputed
	done_to uuid not null default '00000000-0000-0000-0000-000000000000',
	changed_at timestamptz not null default rushes.rushes_now()
);

-- An object store may show a write after it has confirmed the removal of its name. So a copy that was removed at a target is
-- looked for again, an hour and a day later; the recording's deletion does not wait for it. Ids and names only.
create table rushes.second_look (
	copy uuid primary key,
	recording uuid not null,
	account uuid not null,
	file_kind text not null,
	target uuid not null references rushes.target,
	location text not null,
	temporary text,
	upload_id text,
	-- what the delivery or the removal found of the store itself: another disk confirms nothing
	evidence jsonb,
	-- 1: the look after an hour, 2: after a day
	number smallint not null default 1 check (number in (1, 2)),
	-- when the target confirmed the removal, or when what came late was removed
	removed_at timestamptz not null default rushes.rushes_now(),
	due_at timestamptz not null,
	-- raised by every take: the fence
	attempt integer not null default 0,
	failures integer not null default 0,
	last_error text,
	worker text,
	lease_until timestamptz
);
create index second_look_due on rushes.second_look (target, due_at);
create index second_look_running on rushes.second_look (target) where lease_until is not null;
create index second_look_recording on rushes.second_look (recording);

-- Dates are compared with PostgreSQL's clock. Each machine whose services sweep counts the time by a clock of its own that
-- nobody sets (CLOCK_BOOTTIME): here stands, per machine and boot, what it had counted at which time of PostgreSQL's clock. When
-- the two no longer agree, PostgreSQL's clock jumped.
create table rushes.clock_reference (
	machine text primary key check (length(machine) between 1 and 200),
	counted_us bigint not null,
	at timestamptz not null,
	-- since when its count and PostgreSQL's clock have always agreed
	steady_since timestamptz not null
);

-- The zones that dates are counted in, and what the zone data said of their clocks from `since` on: changed zone data moves
-- midnights.
create table rushes.zone_seen (
	zone text primary key,
	since timestamptz not null,
	fingerprint text not null
);
