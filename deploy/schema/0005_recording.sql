-- The way of a recording until it is saved, its keys, and who may read its copies; 0014_work.sql has the rest of the way. Each
-- function is one step and one transaction.

-- Whether a session may (still) record: '' or the reason why not. A positive answer of a healthy database.
create function rushes.session_refusal(p_session rushes.session) returns text
	language plpgsql stable
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	a rushes.account;
	l rushes.link;
begin
	select * into a from rushes.account where id = p_session.account;
	if p_session.revoked_at is not null then
		return 'session-revoked';
	elsif a.closed_at is not null then
		return 'account-closed';
	elsif a.plan = 'trial' and a.trial_ends_at <= p_session.created_at then
		return 'trial-expired';
	elsif a.plan = 'paid' and a.paid_until <= p_session.created_at then
		return 'subscription-expired';
	end if;
	if p_session.link is not null then
		select * into l from rushes.link where account = p_session.account and id = p_session.link;
		if l.revoked_at is not null then
			return 'link-revoked';
		elsif l.expires_at <= p_session.created_at then
			return 'link-expired';
		end if;
	end if;
	-- what expires after the session opened may finish, within the token's life
	if p_session.expires_at <= v_now then
		return 'session-expired';
	end if;
	return '';
end $$;

-- Opens a recording for a session, or finds the one that goes on. Verdicts: `new`, `resume` (still open), `finished` (saved
-- or later), `refused` (reason says why; nothing was stored). Also what the stream has to know.
create function rushes.recording_open(p_recording uuid, p_account uuid, p_session uuid, p_mime text, p_ip text,
				      p_user_agent text, p_devices jsonb, p_referrer text, p_file_name text,
				      p_replaces uuid, p_trace text)
	returns table (verdict text, reason text, state text, region text, environment uuid, max_bytes bigint,
		       max_duration_ms bigint, max_idle_ms bigint, reconnect_window_ms bigint, send_on_stop boolean,
		       bytes bigint, broken_off text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	s rushes.session;
	e rushes.environment;
	r rushes.recording;
	v_reason text;
begin
	select * into r from rushes.recording x where x.id = p_recording for update;
	if found and (r.account <> p_account or r.session is distinct from p_session) then
		verdict := 'refused';
		reason := 'not-yours';
		return next;
		return;
	end if;
	select * into s from rushes.session x where x.account = p_account and x.id = p_session;
	if s.id is null then
		verdict := 'refused';
		reason := 'unknown-session';
		return next;
		return;
	end if;
	select * into e from rushes.environment x where x.account = s.account and x.id = s.environment;
	v_reason := rushes.session_refusal(s);
	if v_reason <> '' then
		if r.id is null or r.state = 'open' then
			perform rushes.add_event('session.refused', p_account, r.id, p_trace);
			verdict := 'refused';
			reason := v_reason;
			return next;
			return;
		end if;
	end if;
	if r.id is null then
		insert into rushes.recording (id, account, region, environment, link, session, mime, replaces, trace)
		select p_recording, a.id, a.region, s.environment, s.link, s.id, left(p_mime, 200), p_replaces, p_trace
		from rushes.account a where a.id = p_account
		returning * into r;
		insert into rushes.recording_personal (recording, account, ip, user_agent, devices, referrer, file_name)
		values (p_recording, p_account, p_ip::inet, left(p_user_agent, 1000), p_devices, left(p_referrer, 2000),
			left(p_file_name, 500));
		perform rushes.add_event('recording.opened', r.account, r.id, p_trace);
		verdict := 'new';
	elsif r.state = 'open' then
		verdict := 'resume';
	else
		verdict := case when r.state in ('deleting', 'deleted') then 'refused' else 'finished' end;
		reason := case when r.state in ('deleting', 'deleted') then 'deleted' end;
	end if;
	state := r.state;
	region := r.region;
	environment := r.environment;
	max_bytes := e.max_bytes;
	max_duration_ms := extract(epoch from e.max_duration) * 1000;
	max_idle_ms := extract(epoch from e.max_idle) * 1000;
	reconnect_window_ms := extract(epoch from e.reconnect_window) * 1000;
	send_on_stop := e.send_on_stop;
	broken_off := e.broken_off;
	bytes := coalesce(r.bytes, rushes.covered_end(r.id));
	return next;
end $$;

-- Says where a recording goes on, and re-reads the right to. p_epoch null raises the epoch: from now on only this caller may add
-- a segment. With the epoch that it raised before, the caller asks again: refused when a newer one was raised. p_acked: what
-- the client says was acknowledged to it; null: it doesn't say.
-- Returns the next segment's number and beginning; the segment that is still open on p_node, left by a crash; and the newest one
-- that is open on another node, whose owner is to be asked first (fence) unless it is silent.
create function rushes.segment_prepare(p_recording uuid, p_session uuid, p_node uuid default null, p_epoch integer default null,
				       p_acked bigint default null)
	returns table (epoch integer, next_number integer, closed_end bigint, open_number integer, open_copy uuid,
		       owner uuid, owner_url text, owner_is_silent boolean)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	r rushes.recording;
	s rushes.session;
	v_reason text;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_recording));
	end if;
	if r.state in ('deleting', 'deleted') then
		perform rushes.refuse('RU004', format('recording %s is %s', p_recording, r.state));
	elsif r.state <> 'open' then
		perform rushes.refuse('RU001', format('recording %s is %s', p_recording, r.state));
	elsif p_epoch <> r.stream_epoch then
		perform rushes.refuse('RU001', format('recording %s: epoch %s is not the last one', p_recording, p_epoch));
	end if;
	select * into s from rushes.session where account = r.account and id = p_session;
	v_reason := case when s.id is null then 'unknown-session' else rushes.session_refusal(s) end;
	if v_reason <> '' then
		perform rushes.refuse('RU003', v_reason);
	end if;
	epoch := r.stream_epoch;
	if p_epoch is null then
		update rushes.recording set stream_epoch = stream_epoch + 1, last_byte_at = rushes.rushes_now()
		where id = p_recording returning stream_epoch into epoch;
		update rushes.segment g set acked = greatest(g.acked, p_acked)
		where g.recording = p_recording and g.state = 'open' and g.node <> p_node and p_acked is not null;
	end if;
	select coalesce(max(g.number) + 1, 0), rushes.covered_end(p_recording)
	into next_number, closed_end from rushes.segment g where g.recording = p_recording;
	select g.number, c.id into open_number, open_copy
	from rushes.segment g
	join rushes.copy c on c.recording = g.recording and c.segment = g.number and c.state in ('incoming', 'present')
	where g.recording = p_recording and g.state = 'open' and g.node = p_node order by g.number desc limit 1;
	select n.id, n.peer_url, n.state = 'retired' or rushes.node_is_silent(n.id) into owner, owner_url, owner_is_silent
	from rushes.segment g join rushes.node n on n.id = g.node
	where g.recording = p_recording and g.state = 'open' and g.node <> p_node order by g.number desc limit 1;
	return next;
end $$;

-- Whether a node is asked to let go of a recording by the one that raised p_epoch: refused when a newer epoch was raised, when
-- the epoch is this node's own, or when the recording is not open any more. Returns the segment that is open on p_node, which
-- it has to close, and where closed segments end.
create function rushes.fence_check(p_recording uuid, p_node uuid, p_epoch integer)
	returns table (open_number integer, open_copy uuid, closed_end bigint)
	language plpgsql stable security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	r rushes.recording;
begin
	select * into r from rushes.recording where id = p_recording;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_recording));
	elsif r.state <> 'open' or r.stream_epoch <> p_epoch
	      or exists (select from rushes.segment g
			 where g.recording = p_recording and g.node = p_node and g.epoch = p_epoch) then
		perform rushes.refuse('RU001', format('recording %s: epoch %s may not close its segment here', p_recording, p_epoch));
	end if;
	select g.number, c.id into open_number, open_copy
	from rushes.segment g
	join rushes.copy c on c.recording = g.recording and c.segment = g.number and c.state in ('incoming', 'present')
	where g.recording = p_recording and g.state = 'open' and g.node = p_node order by g.number desc limit 1;
	closed_end := rushes.covered_end(p_recording);
	return next;
end $$;

-- Inserts segment and copy (`incoming`) if the epoch is still the caller's; with the first segment also the recording's
-- wrapped key and its copy job, which is due from `saved`. Segments of older epochs may still be open on nodes that did not
-- answer. Returns the job's id.
create function rushes.segment_open(p_recording uuid, p_epoch integer, p_number integer, p_node uuid, p_start bigint,
				    p_copy uuid, p_location text, p_account_key uuid, p_wrapped bytea,
				    p_provisional boolean default false) returns uuid
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
	v_job uuid;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if r.state is distinct from 'open' or r.stream_epoch <> p_epoch then
		perform rushes.refuse('RU001', format('recording %s: epoch %s is not the last one', p_recording, p_epoch));
	end if;
	if exists (select from rushes.segment g where g.recording = p_recording and g.state = 'open' and g.node = p_node) then
		perform rushes.refuse('RU001', format('recording %s has another open segment', p_recording));
	end if;
	perform rushes.require_node(p_node);
	insert into rushes.segment (recording, number, account, node, epoch, start_offset, provisional)
	values (p_recording, p_number, r.account, p_node, p_epoch, p_start, p_provisional);
	insert into rushes.copy (id, recording, account, region, segment, node, state, location)
	values (p_copy, p_recording, r.account, r.region, p_number, p_node, 'incoming', p_location);
	insert into rushes.recording_key (recording, account, account_key, wrapped)
	values (p_recording, r.account, p_account_key, p_wrapped) on conflict (recording) do nothing;
	select id into v_job from rushes.job where recording = p_recording and kind = 'copy';
	if v_job is null then
		insert into rushes.job (kind, account, region, recording, node, next_attempt_at, trace)
		values ('copy', r.account, r.region, p_recording, p_node, 'infinity', r.trace) returning id into v_job;
	end if;
	return v_job;
end $$;

-- incoming → present, after file and directory are durable and before the first acknowledgement.
create function rushes.segment_present(p_copy uuid, p_node uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	c rushes.copy;
begin
	select * into c from rushes.copy where id = p_copy and node = p_node;
	perform from rushes.recording where id = c.recording and state not in ('deleting', 'deleted') for update;
	if not found then
		perform rushes.refuse('RU004', format('copy %s is no longer wanted', p_copy));
	end if;
	update rushes.copy set state = 'present', present_at = rushes.rushes_now() where id = p_copy and state = 'incoming';
	if not found and not exists (select from rushes.copy where id = p_copy and state = 'present') then
		perform rushes.refuse('RU001', format('copy %s is neither incoming nor present', p_copy));
	end if;
	perform rushes.retention_recompute(c.recording);
end $$;

-- The owner closes its segment at its last durable byte. Empty segments leave nothing: their copy turns `going`. Of a
-- provisional one nothing counts unless its writer says that the bytes were verified. Doing it again with the same values is
-- no error. Returns how many bytes count.
create function rushes.segment_close(p_recording uuid, p_number integer, p_node uuid, p_bytes bigint, p_sha256 bytea,
				     p_crc32 bigint, p_verified boolean default false) returns bigint
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	g rushes.segment;
begin
	perform from rushes.recording where id = p_recording for update;
	select * into g from rushes.segment where recording = p_recording and number = p_number for update;
	if not found or g.node <> p_node then
		perform rushes.refuse('RU002', format('recording %s has no segment %s on node %s', p_recording, p_number, p_node));
	end if;
	if g.state = 'closed' then
		if (p_verified or not g.provisional) and (g.bytes <> p_bytes or g.sha256 <> p_sha256) then
			perform rushes.refuse('RU001', format('recording %s: segment %s is closed with other bytes', p_recording, p_number));
		end if;
		return g.bytes;
	end if;
	if g.provisional and not p_verified then
		p_bytes := 0;
		p_sha256 := sha256('');
		p_crc32 := 0;
	end if;
	update rushes.segment
	set state = 'closed', bytes = p_bytes, sha256 = p_sha256, crc32 = p_crc32, closed_at = rushes.rushes_now()
	where recording = p_recording and number = p_number;
	update rushes.recording set last_byte_at = rushes.rushes_now() where id = p_recording and state = 'open';
	if p_bytes = 0 then
		perform rushes.copy_set_going(c.id, null) from rushes.copy c
		where c.recording = p_recording and c.segment = p_number;
	end if;
	-- its node was away when the recording was saved without it
	perform rushes.retention_recompute(p_recording) from rushes.recording where id = p_recording and state <> 'open';
	return p_bytes;
end $$;

-- Tells PostgreSQL that bytes still arrive: the reconnect window counts from it. At most once a minute and at disconnects.
create function rushes.recording_touch(p_recordings uuid[]) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	update rushes.recording set last_byte_at = rushes.rushes_now() where id = any (p_recordings) and state = 'open'
$$;

-- Open segments of older epochs whose bytes a take cannot do without: acknowledged by a node that has not answered since, and
-- not sent again. A client that releases its take has sent them again, unless it said itself that more was acknowledged;
-- of a take that broke off this is known only when the client had told how far it was.
create function rushes.segments_awaited(p_recording uuid, p_sent boolean) returns table (number integer, node uuid)
	language sql stable
	as $$
	select g.number, g.node
	from rushes.segment g
	join rushes.node n on n.id = g.node and n.state <> 'retired'
	join rushes.copy c on c.recording = g.recording and c.segment = g.number and c.state = 'present'
	where g.recording = p_recording and g.state = 'open'
	  and not (exists (select from rushes.segment x where x.recording = g.recording and x.number > g.number)
		   and coalesce(g.acked, case when p_sent then 0 end, 9223372036854775807) <= rushes.covered_end(p_recording))
$$;

-- The take is released (p_sent), or broken off and saved with what arrived (p_recovered). All segments must be closed but those
-- that nobody waits for (segments_awaited).
-- Returns the copy job, which is due now, or null when there was nothing to save: then the take is discarded.
-- Repeating it after a crash returns the same.
create function rushes.recording_saved(p_recording uuid, p_stop text, p_sent boolean, p_recovered boolean,
				       p_truncated boolean, p_expected_bytes bigint, p_expected_sha256 bytea)
	returns table (job uuid, bytes bigint)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	r rushes.recording;
	v_bytes bigint;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_recording));
	end if;
	if r.state in ('deleting', 'deleted') then
		perform rushes.refuse('RU004', format('recording %s is %s', p_recording, r.state));
	end if;
	if r.state <> 'open' then
		return query select (select j.id from rushes.job j where j.recording = p_recording and j.kind = 'copy'), r.bytes;
		return;
	end if;
	if exists (select from rushes.segments_awaited(p_recording, p_sent)) then
		perform rushes.refuse('RU001', format('recording %s has an open segment', p_recording));
	end if;
	v_bytes := rushes.covered_end(p_recording);
	if v_bytes = 0 then
		perform rushes.recording_delete(p_recording, 'discarded', null, null);
		return query select null::uuid, 0::bigint;
		return;
	end if;
	if p_expected_bytes is not null and p_expected_bytes <> v_bytes then
		perform rushes.refuse('RU005', format('recording %s has %s bytes, the client announced %s', p_recording, v_bytes,
			p_expected_bytes));
	end if;
	perform rushes.set_recording_state(p_recording, 'saved');
	update rushes.recording x
	set saved_at = rushes.rushes_now(), sent_at = case when p_sent then rushes.rushes_now() end, stop = p_stop,
	    recovered = p_recovered, truncated = p_truncated, bytes = v_bytes, expected_sha256 = p_expected_sha256
	where x.id = p_recording;
	update rushes.job j set next_attempt_at = rushes.rushes_now()
	where j.recording = p_recording and j.kind = 'copy';
	perform rushes.add_event('recording.saved', r.account, p_recording, r.trace);
	perform rushes.retention_recompute(p_recording);
	return query select j.id, v_bytes from rushes.job j where j.recording = p_recording and j.kind = 'copy';
end $$;

-- Segments that are open on this node, and open recordings that had their last one here: for the start-up scan and for the sweep
-- that saves broken-off takes when their reconnect window closes. The recording of an open segment may be saved, and more, when
-- this node was away meanwhile. A window does not close while bytes are awaited from another node.
create function rushes.recordings_open(p_node uuid, p_limit integer)
	returns table (recording uuid, account uuid, number integer, copy uuid, copy_state text, location text,
		       segment_state text, start_offset bigint, window_closed boolean, broken_off text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select * from (
		select r.id, r.account, g.number, c.id as copy, c.state as copy_state, c.location, g.state, g.start_offset,
		       r.state = 'open' and r.last_byte_at + e.reconnect_window <= rushes.rushes_now()
		       and not exists (select from rushes.segment x where x.recording = r.id and x.number > g.number)
		       and not exists (select from rushes.segments_awaited(r.id, false) w where w.node <> p_node) as is_due,
		       e.broken_off
		from (select s.recording, s.number from rushes.segment s where s.node = p_node and s.state = 'open'
		      union
		      select o.id, l.number from rushes.recording o
		      join lateral (select s.number, s.node from rushes.segment s where s.recording = o.id
				    order by s.number desc limit 1) l on l.node = p_node
		      where o.state = 'open') q
		join rushes.segment g on g.recording = q.recording and g.number = q.number
		join rushes.recording r on r.id = g.recording and r.state not in ('deleting', 'deleted')
		join rushes.environment e on e.account = r.account and e.id = r.environment
		left join rushes.copy c on c.recording = g.recording and c.segment = g.number and c.state in ('incoming', 'present')
		where r.state = 'open' or c.id is not null
		order by r.last_byte_at
	) o
	-- those that only wait for their window are not in the way of the others, however many they are
	where o.state = 'open' or o.is_due limit p_limit
$$;

-- Open recordings without any segment, whose window closed: nothing ever arrived. Any ingest discards them.
create function rushes.recordings_empty(p_region text, p_limit integer) returns table (recording uuid)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select r.id from rushes.recording r
	join rushes.environment e on e.account = r.account and e.id = r.environment
	where r.state = 'open' and r.region = p_region and r.last_byte_at + e.reconnect_window <= rushes.rushes_now()
	  and not exists (select from rushes.segment g where g.recording = r.id)
	order by r.last_byte_at limit p_limit
$$;

-- Which of these open streams may not go on: revoked, deleted, no longer open, or taken over by a newer epoch than the one they
-- hold. A poll of the node that holds them.
create function rushes.streams_revoked(p_recordings uuid[], p_epochs integer[]) returns table (recording uuid, reason text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select r.id, case when r.state in ('deleting', 'deleted') then 'deleted'
			  when r.state <> 'open' then 'finished'
			  when r.stream_epoch > h.epoch then 'superseded'
			  when s.revoked_at is not null then 'session-revoked'
			  when l.revoked_at is not null then 'link-revoked'
			  else 'account-closed' end
	from unnest(p_recordings, p_epochs) as h(id, epoch)
	join rushes.recording r on r.id = h.id
	join rushes.account a on a.id = r.account
	left join rushes.session s on s.account = r.account and s.id = r.session
	left join rushes.link l on l.account = r.account and l.id = r.link
	where (r.state <> 'open' or r.stream_epoch > h.epoch or s.revoked_at is not null or l.revoked_at is not null or a.closed_at is not null)
$$;

-- States of recordings, for `saved` and `copied` frames and progress.
create function rushes.recording_states(p_recordings uuid[])
	returns table (recording uuid, state text, is_copied boolean, is_recovered boolean)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select id, state, copied_at is not null, recovered and not truncated from rushes.recording where id = any (p_recordings)
$$;

-- Keys -------------------------------------------------------------------------------------------------------------

-- What a session may play of its own recording, on one node: {"verdict", "reason", "mime", "is_final", "segments": [{"copy",
-- "number", "start", "bytes" (null: open), "is_here"}]}. Verdicts: `yes`; `unknown` (no such recording of this session); `gone`
-- (deleted, or its playback window is over); `refused` (the session may not record any more, by `reason`).
create function rushes.recording_playback(p_recording uuid, p_account uuid, p_session uuid, p_node uuid) returns jsonb
	language plpgsql stable security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
	s rushes.session;
	v_window interval;
	v_reason text;
begin
	select * into r from rushes.recording where id = p_recording and account = p_account and session = p_session;
	if not found then
		return '{"verdict": "unknown"}';
	end if;
	select playback_window into v_window from rushes.environment where account = r.account and id = r.environment;
	if r.state in ('deleting', 'deleted') or r.saved_at + v_window <= rushes.rushes_now() then
		return '{"verdict": "gone"}';
	end if;
	select * into s from rushes.session where account = p_account and id = p_session;
	v_reason := case when s.id is null then 'unknown-session' else rushes.session_refusal(s) end;
	if v_reason <> '' then
		return jsonb_build_object('verdict', 'refused', 'reason', v_reason);
	end if;
	return jsonb_build_object('verdict', 'yes', 'mime', r.mime, 'is_final', r.saved_at is not null, 'segments', coalesce(
		(select jsonb_agg(jsonb_build_object('copy', c.id, 'number', g.number, 'start', g.start_offset, 'bytes', g.bytes,
				'is_here', coalesce(c.node = p_node and c.state in ('incoming', 'present'), false)) order by g.number)
		 from rushes.segment g left join rushes.copy c on c.recording = g.recording and c.segment = g.number
		 where g.recording = r.id and g.bytes is distinct from 0), '[]'));
end $$;

create function rushes.account_key_get(p_account uuid) returns table (id uuid, root_key text, wrapped bytea)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$ select id, root_key, wrapped from rushes.account_key where account = p_account $$;

-- Stores an account's key, or answers with the one that was stored first.
create function rushes.account_key_add(p_account uuid, p_id uuid, p_root_key text, p_wrapped bytea)
	returns table (id uuid, root_key text, wrapped bytea)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
begin
	insert into rushes.account_key (account, id, root_key, wrapped)
	values (p_account, p_id, p_root_key, p_wrapped) on conflict do nothing;
	return query select k.id, k.root_key, k.wrapped from rushes.account_key k where k.account = p_account;
end $$;

-- A recording's key with its account's: no row once it was shredded.
create function rushes.recording_key_get(p_recording uuid)
	returns table (account uuid, account_key uuid, root_key text, account_wrapped bytea, wrapped bytea)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select k.account, k.account_key, a.root_key, a.wrapped, k.wrapped
	from rushes.recording_key k join rushes.account_key a on a.account = k.account and a.id = k.account_key
	where k.recording = p_recording
$$;

-- Peers ------------------------------------------------------------------------------------------------------------

-- Whether this peer may read this copy now: it holds the job's running attempt, and the recording is not going. The caller
-- matched the peer's certificate; p_peer is <service>/<name> of its SAN URI.
create function rushes.serve_check(p_node uuid, p_copy uuid, p_peer text, p_job uuid, p_attempt integer)
	returns table (recording uuid, location text, bytes bigint)
	language plpgsql stable security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	c rushes.copy;
	j rushes.job;
	v_state text;
begin
	select * into c from rushes.copy where id = p_copy and node = p_node;
	if not found then
		perform rushes.refuse('RU002', format('copy %s is not on this node', p_copy));
	end if;
	select r.state into v_state from rushes.recording r where r.id = c.recording;
	if v_state in ('deleting', 'deleted') or c.state <> 'present' then
		perform rushes.refuse('RU004', format('copy %s is %s, its recording %s', p_copy, c.state, v_state));
	end if;
	select * into j from rushes.job where id = p_job and recording = c.recording;
	if not found or j.state <> 'running' or j.attempt <> p_attempt or split_part(j.worker, '#', 1) <> p_peer
	   or not ((j.kind = 'copy' and c.segment is not null)
		   or (j.kind = 'push' and c.kind = j.file_kind)) then
		perform rushes.refuse('RU003', format('%s holds no running job for copy %s', p_peer, p_copy));
	end if;
	return query select c.recording, c.location,
		coalesce((select f.bytes from rushes.file f where f.recording = c.recording and f.kind = c.kind),
			 (select g.bytes from rushes.segment g where g.recording = c.recording and g.number = c.segment));
end $$;
