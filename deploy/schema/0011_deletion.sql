-- What a deletion needs besides its decision: second looks at targets, a guard for the clock that dates are compared with, and
-- the answer to "how far is it".

create function rushes.second_look_wait(p_number smallint) returns interval
	language sql immutable
	as $$ select case p_number when 1 then interval '1 hour' else interval '1 day' end $$;

-- The target confirmed that a copy is gone there: called in that transaction.
create function rushes.second_look_add(c rushes.copy, p_evidence jsonb) returns void
	language plpgsql
	as $$
begin
	insert into rushes.second_look (copy, recording, account, file_kind, target, location, temporary, upload_id, evidence, due_at)
	values (c.id, c.recording, c.account, c.kind, c.target, c.location, c.temporary, c.upload_id,
		jsonb_build_object('store', coalesce(p_evidence->>'store', c.evidence->>'store')),
		rushes.rushes_now() + rushes.second_look_wait(1::smallint));
end $$;

-- A file is sent again to where a removed copy of it lay: what it writes must not be taken for something that came late. The
-- recording is locked by the caller.
create function rushes.second_look_drop(p_recording uuid, p_file_kind text, p_target uuid) returns void
	language plpgsql
	as $$
begin
	if exists (select from rushes.second_look s where s.recording = p_recording and s.file_kind = p_file_kind
		   and s.target = p_target and s.lease_until >= rushes.rushes_now()) then
		perform rushes.refuse('RU001', format('the %s of recording %s is just being looked for at the target', p_file_kind,
			p_recording));
	end if;
	delete from rushes.second_look
	where recording = p_recording and file_kind = p_file_kind and target = p_target;
end $$;

-- Takes the look that is due for longest, at a target where nobody looks now, so that a target that does not answer holds up
-- only its own. Null: there is none.
create function rushes.second_look_take(p_region text, p_worker text, p_lease interval) returns jsonb
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_candidate record;
	s rushes.second_look;
begin
	for v_candidate in
		with recursive place as (
			(select l.target from rushes.second_look l order by l.target limit 1)
			union all
			select (select l.target from rushes.second_look l where l.target > p.target order by l.target limit 1)
			from place p where p.target is not null
		)
		select d.copy, d.recording from place p
		join rushes.target t on t.id = p.target and t.region = p_region
		cross join lateral (
			select l.copy, l.recording, l.due_at from rushes.second_look l
			where l.target = p.target and l.due_at <= v_now order by l.due_at limit 1) d
		where not exists (select from rushes.second_look b where b.target = p.target and b.lease_until >= v_now)
		order by d.due_at limit 8
	loop
		perform from rushes.recording where id = v_candidate.recording for update skip locked;
		continue when not found;
		update rushes.second_look l set worker = p_worker, lease_until = v_now + p_lease, attempt = l.attempt + 1
		where l.copy = v_candidate.copy and l.due_at <= v_now and coalesce(l.lease_until, '-infinity') < v_now
		returning * into s;
		continue when not found;
		return jsonb_build_object(
			'recording', s.recording, 'account', s.account, 'attempt', s.attempt, 'number', s.number,
			'copy', jsonb_build_object('id', s.copy, 'location', s.location, 'temporary', s.temporary, 'upload_id', s.upload_id,
						   'evidence', s.evidence),
			'target', (select jsonb_build_object('id', t.id, 'owner', t.owner, 'kind', t.kind, 'name', t.name,
							     'endpoint', t.endpoint, 'credential', encode(t.credential, 'hex'),
							     'account', t.account)
				   from rushes.target t where t.id = s.target));
	end loop;
	return null;
end $$;

-- Nothing is left there now. p_found: something was, which came late and is removed. Then a day counts from here: what writes
-- late once may do so again.
create function rushes.second_look_done(p_copy uuid, p_attempt integer, p_found boolean, p_evidence jsonb) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	s rushes.second_look;
begin
	select * into s from rushes.second_look where copy = p_copy and attempt = p_attempt for update;
	if not found then
		return;
	end if;
	if p_found then
		perform rushes.add_ledger('found-late', s.account, s.recording, s.copy, null, 'target/' || s.target,
			p_evidence || jsonb_build_object('look', s.number));
	elsif s.number = 2 then
		delete from rushes.second_look where copy = p_copy;
		return;
	end if;
	update rushes.second_look
	set number = 2, failures = 0, last_error = null, worker = null, lease_until = null, upload_id = null,
	    removed_at = case when p_found then rushes.rushes_now() else removed_at end,
	    due_at = case when p_found then rushes.rushes_now() else removed_at end + rushes.second_look_wait(2::smallint)
	where copy = p_copy;
end $$;

-- The target did not answer: again by the schedule of 13 attempts, then every day.
create function rushes.second_look_failed(p_copy uuid, p_attempt integer, p_error text) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	update rushes.second_look
	set failures = failures + 1, last_error = left(p_error, 2000), worker = null, lease_until = null,
	    due_at = rushes.rushes_now() + coalesce(rushes.attempt_wait(failures + 1), interval '1 day')
	where copy = p_copy and attempt = p_attempt
$$;

-- How many looks stand open, and how long the oldest one is overdue, in seconds (0: none is).
create function rushes.second_look_backlog(out open bigint, out overdue_s double precision)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select count(*), greatest(coalesce(extract(epoch from rushes.rushes_now() - min(s.due_at)), 0), 0)::double precision
	from rushes.second_look s
$$;

-- The clock ---------------------------------------------------------------------------------------------------------

create function rushes.clock_tolerance() returns interval
	language sql immutable
	as $$ select interval '1 minute' $$;

-- How long all machines may have been away, none of them counting: a long weekend. Behind that nobody can tell a long silence
-- from a clock that was set forward, and a person has to.
create function rushes.clock_silence() returns interval
	language sql immutable
	as $$ select interval '4 days' $$;

-- Stops all deletion by dates until the clock agrees again with what a machine counted, or a person confirms it.
create function rushes.clock_hold(p_reason text) returns void
	language plpgsql
	as $$
begin
	insert into rushes.retention_pause as p (rule, place, by, reason) values ('*', 'clock', 'clock', p_reason)
	on conflict on constraint retention_pause_pkey do update
	set since = rushes.rushes_now(), by = excluded.by, reason = excluded.reason, confirmed_at = null
	where p.confirmed_at is not null;
	if found then
		perform rushes.add_audit('clock', 'retention.pause', null, '* clock', jsonb_build_object('reason', p_reason));
	end if;
end $$;

-- Asked before every sweep of every service. p_machine: id of the machine and its boot; p_counted_us: what it has counted.
-- clock: `steady`; `jumped` (asked with p_sure, that is with a count which is certainly of this moment, it is written down);
-- `held`: it jumped before and nobody confirmed it. `now` is PostgreSQL's own clock, for the caller's.
create function rushes.sweep_gate(p_machine text, p_counted_us bigint, p_sure boolean)
	returns table (state text, clock text, reason text, now timestamptz)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	v_own rushes.clock_reference;
	v_now timestamptz;
	v_last timestamptz;
	v_counted interval;
	v_agrees boolean;
	v_held boolean;
	v_by text;
begin
	select * into v_own from rushes.clock_reference where machine = p_machine for update;
	v_now := rushes.rushes_now();
	now := clock_timestamp();
	select i.state into state from rushes.installation i;
	select p.reason, p.by into reason, v_by from rushes.retention_pause p
	where p.rule = '*' and p.place = 'clock' and p.confirmed_at is null;
	v_held := found;
	v_counted := (p_counted_us - v_own.counted_us) * interval '1 microsecond';
	v_agrees := abs(extract(epoch from v_now - v_own.at - v_counted)) <= extract(epoch from rushes.clock_tolerance());
	clock := 'steady';
	if v_agrees and v_held and v_by = 'clock' then
		update rushes.retention_pause set confirmed_at = v_now where rule = '*' and place = 'clock';
		perform rushes.add_audit('clock', 'retention.confirm', null, '* clock',
			jsonb_build_object('reason', 'the clock agrees again with what a machine counted'));
		reason := null;
	elsif v_held then
		clock := 'held';
	elsif not coalesce(v_agrees, false) then
		-- a machine that stood still, or is new: its word counts less than that of one that counted all the while
		select max(r.at) into v_last from rushes.clock_reference r where r.machine <> p_machine
		and (v_own.machine is null or (r.steady_since <= v_own.at and r.at > v_now - rushes.clock_tolerance()));
		if (v_own.machine is not null and v_last is null)
		   or v_now not between v_last - rushes.clock_tolerance() and v_last + rushes.clock_silence() then
			clock := 'jumped';
			reason := case when v_own.machine is null
				then format('PostgreSQL''s clock says %s, %s after the last sweep, and no machine counted the time between', v_now,
					    v_now - v_last)
				else format('PostgreSQL''s clock went from %s to %s while a machine counted %s', v_own.at, v_now, v_counted) end;
			if p_sure then
				perform rushes.clock_hold(reason);
			end if;
		else
			insert into rushes.clock_reference values (p_machine, p_counted_us, v_now, v_now)
			on conflict (machine) do update set counted_us = excluded.counted_us, at = excluded.at, steady_since = excluded.at;
		end if;
	end if;
	if clock = 'steady' and v_agrees and v_now > v_own.at + interval '10 s' then
		update rushes.clock_reference set counted_us = p_counted_us, at = v_now where machine = p_machine;
		delete from rushes.clock_reference where at < v_now - interval '30 days';
	end if;
	return next;
end $$;

-- How far a deletion is ---------------------------------------------------------------------------------------------

-- What is left, what is proven and until when it has to end: one JSON object for the API (p_account), which follows it, and the
-- operator (p_account null). No row when nobody decided to delete the recording.
create function rushes.recording_deletion(p_account uuid, p_recording uuid) returns jsonb
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select jsonb_build_object(
		'id', r.id, 'state', r.state, 'rule', r.delete_rule, 'decided_at', r.deleting_at,
		'deadline', r.deleting_at + interval '5 days', 'completed_at', r.deleted_at,
		'overdue', r.state = 'deleting' and rushes.rushes_now() > r.deleting_at + interval '5 days',
		'left', (select coalesce(jsonb_agg(jsonb_build_object(
				'copy', c.id, 'of', coalesce(c.kind, 'segment ' || c.segment), 'place', rushes.copy_place(c),
				'where', coalesce(n.service, 'target'), 'name', coalesce(t.name, n.service), 'state', c.state, 'since', c.going_at,
				'failures', coalesce(j.failures, 0), 'next_attempt_at', j.next_attempt_at,
				'reason', coalesce(j.last_error, case c.state when 'lost' then 'the copy is lost'
					else 'its owner has not confirmed the removal' end)) order by c.created_at, c.id), '[]')
			from rushes.copy c
			left join rushes.target t on t.id = c.target left join rushes.node n on n.id = c.node
			left join rushes.job j on j.copy = c.id and j.recording = r.id
			where c.recording = r.id and c.state <> 'released' and r.state = 'deleting'),
		'left_with_the_client', coalesce(
			(select (l.evidence->>'left_with_the_client')::bigint from rushes.ledger l
			 where l.recording = r.id and l.kind = 'complete' order by l.id limit 1),
			(select count(*) from rushes.copy c where c.recording = r.id and c.state = 'released')),
		'personal_metadata', case when exists (select from rushes.recording_personal p where p.recording = r.id)
			then 'left' else 'gone' end,
		'evidence', (select coalesce(jsonb_agg(jsonb_build_object(
				'entry', l.id, 'kind', l.kind, 'at', l.at, 'copy', l.copy, 'place', l.place, 'evidence', l.evidence,
				'hash', encode(l.hash, 'hex'), 'batch', l.batch) order by l.id), '[]')
			from rushes.ledger l where l.recording = r.id and l.kind in ('gone', 'found-late', 'complete')),
		'second_looks', (select coalesce(jsonb_agg(jsonb_build_object(
				'copy', s.copy, 'place', 'target/' || s.target, 'due_at', s.due_at, 'failures', s.failures,
				'reason', s.last_error) order by s.due_at, s.copy), '[]')
			from rushes.second_look s where s.recording = r.id))
	from rushes.recording r
	where r.id = p_recording and (p_account is null or r.account = p_account) and r.state in ('deleting', 'deleted')
$$;

grant execute on function rushes.sweep_gate(text, bigint, boolean)
	to rushes_ingest, rushes_transcoder, rushes_pusher, rushes_janitor, rushes_linkgen;
grant execute on function
	rushes.second_look_take(text, text, interval), rushes.second_look_done(uuid, integer, boolean, jsonb),
	rushes.second_look_failed(uuid, integer, text), rushes.second_look_backlog()
	to rushes_pusher;
grant execute on function rushes.recording_deletion(uuid, uuid) to rushes_linkgen, rushes_ctl;
grant select on rushes.second_look, rushes.clock_reference to rushes_ctl;
