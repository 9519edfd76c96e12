-- Least privilege: each service may execute the functions of its steps. The operator's tool reads tables, and changes only
-- through functions, which write the audit.

grant usage on schema rushes to rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor, rushes_ctl;

grant execute on function rushes.rushes_now() to
	rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor, rushes_ctl;

-- the outbox's and publishers' leases are taken by whoever runs the kind
grant execute on function rushes.lease_take(text, text, interval), rushes.lease_drop(text, text) to
	rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor;
grant execute on function rushes.event_unpublished(integer), rushes.event_published(bigint[]) to
	rushes_ingest, rushes_transcoder, rushes_pusher, rushes_janitor;

grant execute on function
	rushes.job_claim(uuid, text, text, text, uuid, interval, boolean, boolean), rushes.job_beat(text, uuid[], integer[], interval),
	rushes.job_hand_back(uuid, integer, text), rushes.job_failed(uuid, integer, text, text, boolean),
	rushes.job_expire_leases(text, integer), rushes.job_release_dead(text, text), rushes.job_watch_nodes(text),
	rushes.job_publish_due(text, interval, integer)
	to rushes_transcoder, rushes_pusher;

grant execute on function
	rushes.copies_going(uuid, integer), rushes.copy_gone(uuid, text, jsonb), rushes.copy_lost(uuid, uuid),
	rushes.serve_check(uuid, uuid, text, uuid, integer), rushes.recording_key_get(uuid)
	to rushes_ingest, rushes_transcoder;

grant execute on function
	rushes.recording_open(uuid, uuid, uuid, text, text, text, jsonb, text, text, uuid, text),
	rushes.segment_prepare(uuid, uuid, uuid, integer, bigint), rushes.fence_check(uuid, uuid, integer),
	rushes.segment_open(uuid, integer, integer, uuid, bigint, uuid, text, uuid, bytea, boolean), rushes.segment_present(uuid, uuid),
	rushes.segment_close(uuid, integer, uuid, bigint, bytea, bigint, boolean), rushes.recording_touch(uuid[]),
	rushes.recording_saved(uuid, text, boolean, boolean, boolean, bigint, bytea), rushes.recordings_open(uuid, integer),
	rushes.recordings_empty(text, integer), rushes.streams_revoked(uuid[], integer[]), rushes.recording_states(uuid[]),
	rushes.recording_playback(uuid, uuid, uuid, uuid),
	rushes.account_key_get(uuid), rushes.account_key_add(uuid, uuid, text, bytea),
	rushes.recording_delete(uuid, text, text, text)
	to rushes_ingest;

grant execute on function
	rushes.personal_sweep(integer), rushes.deletion_overdue(interval), rushes.partitions_maintain(integer, integer)
	to rushes_janitor;

grant execute on function
	rushes.api_key_check(uuid, bytea), rushes.link_create(text, uuid, uuid, uuid, bytea, timestamptz, integer, jsonb, text),
	rushes.link_revoke(text, uuid, uuid), rushes.link_get(uuid, uuid), rushes.link_resolve(bytea),
	rushes.session_open(bytea, uuid, bytea, bytea, text, interval), rushes.recording_get(uuid, uuid),
	rushes.recording_list(uuid, text, timestamptz, integer), rushes.recording_delete_by_api(text, uuid, uuid, text),
	rushes.link_sweep(integer)
	to rushes_linkgen;
grant select (account, id, name) on rushes.environment to rushes_linkgen;

grant execute on function
	rushes.account_create(text, text, text, text, text, text, timestamptz), rushes.environment_set(text, uuid, text, jsonb),
	rushes.environment_target_set(text, uuid, uuid, uuid, boolean),
	rushes.api_key_create(text, uuid, uuid, text, bytea, text[]), rushes.api_key_revoke(text, uuid),
	rushes.target_create(text, uuid, text, uuid, text, text, text, jsonb, bytea, boolean), rushes.target_disable(text, uuid), rushes.target_credential_set(text, uuid, jsonb, bytea),
	rushes.link_create(text, uuid, uuid, uuid, bytea, timestamptz, integer, jsonb, text), rushes.link_revoke(text, uuid, uuid),
	rushes.link_get(uuid, uuid), rushes.recording_get(uuid, uuid), rushes.recording_list(uuid, text, timestamptz, integer),
	rushes.recording_delete(uuid, text, text, text), rushes.job_retry(uuid, text), rushes.deletion_overdue(interval),
	rushes.copy_place(rushes.copy), rushes.link_state(rushes.link),
	rushes.retention_due(uuid[]), rushes.midnight_after_28_days(timestamptz, text), rushes.midnight_after_28_days(timestamptz), rushes.day_begins(timestamp, text),
	rushes.day_begins_beside_change(timestamp, text), rushes.node_silence()
	to rushes_ctl;
grant select on rushes.installation, rushes.account, rushes.environment, rushes.environment_target, rushes.node,
	rushes.recording, rushes.segment, rushes.file, rushes.copy, rushes.job, rushes.job_done, rushes.attempt, rushes.event,
	rushes.lease, rushes.ledger, rushes.audit, rushes.push, rushes.unknown_file, rushes.retention_pause, rushes.retention_rule,
	rushes.delivery, rushes.link, rushes.session
	to rushes_ctl;
grant select (id, owner, account, region, name, kind, endpoint, delete_at_target, created_at, disabled_at) on rushes.target to rushes_ctl;
grant select (account, id, name, scopes, created_at, revoked_at, last_used_at) on rushes.api_key to rushes_ctl;
grant select on rushes.retention_rule to rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor;
-- written by the migration itself; every service checks the version at its start
grant select on rushes.schema_migration to
	rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor, rushes_ctl;

-- the first days' partitions; the janitor makes the others
select rushes.partitions_maintain(7, 35);
