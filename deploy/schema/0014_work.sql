-- The work of jobs: what their workers have to know, and the steps in which copies are made, converted, pushed and deleted.

-- What a job's worker has to know, as one JSON object: common fields, then those of its kind.
create function rushes.job_context(p_job uuid, p_attempt integer) returns jsonb
	language plpgsql stable security definer
	set search_path = rushes, pg_temp
	as $$
declare
	j rushes.job;
	r rushes.recording;
	v jsonb;
begin
	select * into j from rushes.job where id = p_job;
	if not found or j.state <> 'running' or j.attempt <> p_attempt then
		perform rushes.refuse('RU001', format('job %s: attempt %s is not the running one', p_job, p_attempt));
	end if;
	select * into r from rushes.recording where id = j.recording;
	if r.state in ('deleting', 'deleted') and j.kind <> 'delete' then
		perform rushes.refuse('RU004', format('recording %s is %s', r.id, r.state));
	end if;
	select jsonb_build_object(
		'job', j.id, 'attempt', j.attempt, 'failures', j.failures, 'kind', j.kind, 'account', j.account,
		'account_hash', a.hash, 'recording', j.recording, 'region', j.region, 'environment', r.environment,
		'opened_at', to_char(r.opened_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'mime', r.mime, 'state', r.state, 'bytes', r.bytes,
		'expected_sha256', encode(r.expected_sha256, 'hex'), 'raw_sha256', encode(r.sha256, 'hex'),
		'conversion', e.conversion,
		'key', (select jsonb_build_object('account_key', k.account_key, 'root_key', ak.root_key,
						  'account_wrapped', encode(ak.wrapped, 'hex'), 'wrapped', encode(k.wrapped, 'hex'))
			from rushes.recording_key k join rushes.account_key ak on ak.account = k.account and ak.id = k.account_key
			where k.recording = r.id))
	into v
	from rushes.account a, rushes.environment e
	where a.id = r.account and e.account = r.account and e.id = r.environment;
	if j.kind = 'copy' then
		return v || jsonb_build_object('segments', (
			select coalesce(jsonb_agg(jsonb_build_object(
				'number', g.number, 'start_offset', g.start_offset, 'bytes', g.bytes,
				'sha256', encode(g.sha256, 'hex'), 'crc32', g.crc32, 'copy', c.id, 'node', g.node,
				'is_open', g.state = 'open', 'is_silent', rushes.node_is_silent(g.node),
				'peer_url', n.peer_url) order by g.start_offset, g.number), '[]')
			from rushes.segment g join rushes.node n on n.id = g.node
			join rushes.copy c on c.recording = g.recording and c.segment = g.number and c.state = 'present'
			where g.recording = r.id and (g.bytes > 0 or (g.state = 'open' and r.state = 'open'))));
	elsif j.kind = 'convert' then
		return v || jsonb_build_object('input', (
			select jsonb_build_object('copy', c.id, 'location', c.location, 'bytes', f.bytes, 'sha256', encode(f.sha256, 'hex'))
			from rushes.copy c join rushes.file f on f.recording = c.recording and f.kind = c.kind
			where c.recording = r.id and c.kind = 'raw' and c.node = j.node and c.state = 'present'));
	end if;
	v := v || jsonb_build_object('file_kind', j.file_kind, 'target', (
		select jsonb_build_object('id', t.id, 'owner', t.owner, 'kind', t.kind, 'name', t.name, 'endpoint', t.endpoint,
					  'credential', encode(t.credential, 'hex'), 'account', t.account)
		from rushes.target t where t.id = j.target));
	if j.kind = 'push' then
		return v || jsonb_build_object(
			'file', (select jsonb_build_object('bytes', f.bytes, 'sha256', encode(f.sha256, 'hex'), 'facts', f.facts)
				 from rushes.file f where f.recording = r.id and f.kind = j.file_kind),
			'source', (select jsonb_build_object('copy', c.id, 'node', c.node, 'peer_url', n.peer_url)
				   from rushes.copy c join rushes.node n on n.id = c.node
				   where c.recording = r.id and c.kind = j.file_kind and c.state = 'present' limit 1),
			'copy', (select jsonb_build_object('id', c.id, 'state', c.state, 'location', c.location,
							   'temporary', c.temporary, 'upload_id', c.upload_id)
				 from rushes.copy c
				 where c.recording = r.id and c.kind = j.file_kind and c.target = j.target));
	end if;
	return v || jsonb_build_object('copy', (
		select jsonb_build_object('id', c.id, 'state', c.state, 'location', c.location, 'temporary', c.temporary,
					  'upload_id', c.upload_id, 'evidence', c.evidence)
		from rushes.copy c where c.id = j.copy));
end $$;

-- Transcoder -------------------------------------------------------------------------------------------------------

-- A file that a job is about to write on its spool: the row comes before the first byte. What an earlier attempt began for
-- the same file on this node turns `going`.
create function rushes.file_copy_begin(p_job uuid, p_attempt integer, p_node uuid, p_kind text, p_copy uuid, p_location text)
	returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	perform rushes.require_node(p_node);
	perform rushes.copy_set_going(c.id, null) from rushes.copy c
	where c.recording = j.recording and c.kind = p_kind and c.node = p_node and c.state = 'incoming';
	insert into rushes.copy (id, recording, account, region, kind, node, state, location, job, attempt)
	values (p_copy, j.recording, j.account, j.region, p_kind, p_node, 'incoming', p_location, j.id, j.attempt);
end $$;

-- Conversions that are due and wait for a node's slots: how far it has copied ahead.
create function rushes.converts_waiting(p_node uuid) returns bigint
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select count(*) from rushes.job j
	where j.kind = 'convert' and j.node = p_node and j.state = 'queued' and j.next_attempt_at <= rushes.rushes_now()
$$;

create function rushes.make_present(p_copy uuid, p_job rushes.job) returns rushes.copy
	language plpgsql
	as $$
declare
	c rushes.copy;
begin
	update rushes.copy set state = 'present', present_at = rushes.rushes_now()
	where id = p_copy and recording = p_job.recording and state = 'incoming' and job = p_job.id
	  and attempt = p_job.attempt
	returning * into c;
	if not found then
		perform rushes.refuse('RU001', format('copy %s is not what job %s is writing', p_copy, p_job.id));
	end if;
	return c;
end $$;

-- Push jobs for each file that there is and each target that the environment names; in the order main, raw, snapshot,
-- filmstrip. Returns their ids.
create function rushes.add_push_jobs(p_recording uuid) returns setof uuid
	language plpgsql
	as $$
begin
	return query
	with added as (
		insert into rushes.job (kind, account, region, recording, file_kind, target, node, rank, trace)
		select 'push', r.account, r.region, r.id, f.kind, t.id, c.node,
		       array_position(array['main', 'raw', 'snapshot', 'filmstrip'], f.kind) - 1, r.trace
		from rushes.recording r
		join rushes.environment e on e.account = r.account and e.id = r.environment
		join rushes.file f on f.recording = r.id
		join rushes.copy c on c.recording = r.id and c.kind = f.kind and c.node is not null and c.state = 'present'
		join rushes.target t on t.disabled_at is null and t.region = r.region and (
			(t.owner = 'ours' and e.store_ours
			 and t.id = (select o.id from rushes.target o where o.owner = 'ours' and o.region = r.region
				     and o.disabled_at is null order by o.created_at, o.id limit 1))
			or exists (select from rushes.environment_target et
				   where et.account = e.account and et.environment = e.id and et.target = t.id))
		where r.id = p_recording
		  and (f.kind = 'main' or (f.kind = 'raw' and e.push_raw) or (f.kind = 'snapshot' and e.push_snapshot)
		       or (f.kind = 'filmstrip' and e.push_filmstrip))
		returning id, recording, file_kind, target
	), noted as (
		insert into rushes.push (recording, file_kind, target, state)
		select a.recording, a.file_kind, a.target, 'unfinished' from added a
	)
	select a.id from added a;
end $$;

-- processed → closed when no unfinished job is left.
create function rushes.recording_settle(p_recording uuid) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
begin
	select * into r from rushes.recording where id = p_recording;
	if r.state = 'processed' and not exists (select from rushes.job where recording = p_recording and kind <> 'delete') then
		perform rushes.set_recording_state(p_recording, 'closed');
		update rushes.recording set closed_at = rushes.rushes_now() where id = p_recording;
		perform rushes.add_event('recording.closed', r.account, p_recording, r.trace);
	end if;
end $$;

create function rushes.recording_processed(p_recording uuid) returns setof uuid
	language plpgsql
	as $$
declare
	r rushes.recording;
begin
	perform rushes.set_recording_state(p_recording, 'processed');
	update rushes.recording set processed_at = rushes.rushes_now() where id = p_recording returning * into r;
	perform rushes.add_event('recording.processed', r.account, p_recording, r.trace);
	return query select rushes.add_push_jobs(p_recording);
	-- the whole take that came later has been processed: what it replaces may go; a held one when its hold is lifted
	if r.replaces is not null and exists (select from rushes.recording o
		where o.id = r.replaces and o.account = r.account and o.session = r.session and o.recovered and not o.held) then
		perform rushes.recording_delete(r.replaces, 'replaced', null, null);
	end if;
end $$;

-- The raw is whole on a transcoder, its hashes matched. Returns the jobs that follow (one convert, or with conversion
-- `never` the pushes).
create function rushes.copy_job_done(p_job uuid, p_attempt integer, p_copy uuid, p_bytes bigint, p_sha256 bytea, p_facts jsonb)
	returns table (job uuid, kind text, node uuid)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
	r rushes.recording;
	c rushes.copy;
	v_conversion text;
	v_new uuid;
begin
	select * into r from rushes.recording where id = j.recording;
	if r.state <> 'saved' then
		perform rushes.refuse('RU001', format('recording %s is %s', r.id, r.state));
	end if;
	if p_bytes <> r.bytes then
		perform rushes.refuse('RU005', format('recording %s: %s bytes were copied, %s were saved', r.id, p_bytes, r.bytes));
	end if;
	if p_sha256 <> r.expected_sha256 then
		perform rushes.refuse('RU005', format('recording %s: the SHA-256 of its %s segments together is %s, the client said %s%s', r.id,
			p_facts->>'segments', encode(p_sha256, 'hex'), encode(r.expected_sha256, 'hex'),
			case (p_facts->>'overlaps_that_differ')::integer when 0 then '' when 1
				then '; 1 of its segments differs from an earlier one where they overlap'
				else format('; %s of its segments differ from earlier ones where they overlap', p_facts->>'overlaps_that_differ') end));
	end if;
	c := rushes.make_present(p_copy, j);
	select e.conversion into v_conversion from rushes.environment e where e.account = r.account and e.id = r.environment;
	-- with conversion `never` the untouched raw takes main's place
	if c.kind <> (case when v_conversion = 'never' then 'main' else 'raw' end) then
		perform rushes.refuse('RU001', format('recording %s: conversion is now %s, the copy is a %s', r.id, v_conversion, c.kind));
	end if;
	insert into rushes.file (id, recording, account, kind, bytes, sha256, facts)
	values (gen_random_uuid(), r.id, r.account, c.kind, p_bytes, p_sha256, coalesce(p_facts, '{}'));
	update rushes.recording set sha256 = p_sha256, copied_at = rushes.rushes_now() where id = r.id;
	perform rushes.finish_job(j, 'done', 'done', null, null);
	perform rushes.add_event('recording.copied', r.account, r.id, j.trace);
	if v_conversion = 'never' then
		return query select p.id, 'push'::text, null::uuid from rushes.recording_processed(r.id) as p(id);
		perform rushes.recording_settle(r.id);
	else
		insert into rushes.job (kind, account, region, recording, node, trace)
		values ('convert', r.account, r.region, r.id, c.node, j.trace) returning id into v_new;
		return query select v_new, 'convert'::text, c.node;
	end if;
	perform rushes.retention_recompute(r.id);
end $$;

-- The outputs are whole and durable. p_outputs: [{"kind","copy","bytes","sha256","facts"}]. Returns the push jobs.
create function rushes.convert_job_done(p_job uuid, p_attempt integer, p_outputs jsonb)
	returns table (job uuid, kind text, node uuid)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
	o record;
begin
	for o in select * from jsonb_to_recordset(p_outputs)
		 as x(kind text, copy uuid, bytes bigint, sha256 text, facts jsonb) loop
		perform rushes.make_present(o.copy, j);
		insert into rushes.file (id, recording, account, kind, bytes, sha256, facts)
		values (gen_random_uuid(), j.recording, j.account, o.kind, o.bytes, decode(o.sha256, 'hex'), coalesce(o.facts, '{}'));
	end loop;
	if not exists (select from rushes.file f where f.recording = j.recording and f.kind = 'main') then
		perform rushes.refuse('RU005', format('job %s: no main file among the outputs', j.id));
	end if;
	-- an output that this input does not give: its begun copy goes
	perform rushes.copy_set_going(c.id, null) from rushes.copy c
	where c.recording = j.recording and c.job = j.id and c.state = 'incoming';
	perform rushes.finish_job(j, 'done', 'done', null, null);
	return query select p.id, 'push'::text, null::uuid from rushes.recording_processed(j.recording) as p(id);
	perform rushes.recording_settle(j.recording);
	perform rushes.retention_recompute(j.recording);
end $$;

-- Storage-pusher ---------------------------------------------------------------------------------------------------

-- The copy at a target, before its first byte: which names may exist there. A retry keeps the row and its names.
create function rushes.push_begin(p_job uuid, p_attempt integer, p_copy uuid, p_location text, p_temporary text)
	returns table (copy uuid, location text, temporary text, upload_id text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	perform rushes.second_look_drop(j.recording, j.file_kind, j.target);
	insert into rushes.copy as c (id, recording, account, region, kind, target, state, location, temporary, job, attempt)
	values (p_copy, j.recording, j.account, j.region, j.file_kind, j.target, 'incoming', p_location, p_temporary, j.id, j.attempt)
	on conflict (recording, kind, target) where target is not null do update
	set job = excluded.job, attempt = excluded.attempt
	where c.state = 'incoming';
	return query select c.id, c.location, c.temporary, c.upload_id from rushes.copy c
	where c.recording = j.recording and c.kind = j.file_kind and c.target = j.target and c.state = 'incoming'
	  and c.job = j.id and c.attempt = j.attempt;
	if not found then
		perform rushes.refuse('RU001', format('job %s: its copy at the target is already there or going', j.id));
	end if;
end $$;

-- The multipart upload that is being made; null when it was completed or aborted.
create function rushes.push_set_upload(p_job uuid, p_attempt integer, p_copy uuid, p_upload_id text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	update rushes.copy set upload_id = p_upload_id where id = p_copy and job = j.id and state = 'incoming';
end $$;

-- The target's own answer proved the delivery. On the client's targets the copy is theirs from now on.
create function rushes.push_job_done(p_job uuid, p_attempt integer, p_copy uuid, p_evidence jsonb, p_encrypted boolean)
	returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
	v_owner text;
begin
	perform rushes.make_present(p_copy, j);
	select t.owner into v_owner from rushes.target t where t.id = j.target;
	update rushes.copy
	set evidence = p_evidence, encrypted_at_rest = p_encrypted, upload_id = null,
	    state = case when v_owner = 'client' then 'released' else 'present' end
	where id = p_copy;
	perform rushes.finish_job(j, 'done', 'done', null, null);
	perform rushes.add_event('file.delivered', j.account, j.recording, j.trace);
	perform rushes.recording_settle(j.recording);
	perform rushes.retention_recompute(j.recording);
end $$;

-- The target answered that nothing of the copy is left there.
create function rushes.delete_job_done(p_job uuid, p_attempt integer, p_evidence jsonb) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	j rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	perform rushes.finish_job(j, 'done', 'done', null, null);
	perform rushes.copy_gone(j.copy, 'target/' || j.target, p_evidence);
end $$;

grant execute on function rushes.job_context(uuid, integer) to rushes_transcoder, rushes_pusher;
grant execute on function
	rushes.file_copy_begin(uuid, integer, uuid, text, uuid, text),
	rushes.copy_job_done(uuid, integer, uuid, bigint, bytea, jsonb), rushes.convert_job_done(uuid, integer, jsonb),
	rushes.converts_waiting(uuid)
	to rushes_transcoder;

grant execute on function
	rushes.push_begin(uuid, integer, uuid, text, text), rushes.push_set_upload(uuid, integer, uuid, text),
	rushes.push_job_done(uuid, integer, uuid, jsonb, boolean), rushes.delete_job_done(uuid, integer, jsonb)
	to rushes_pusher;
