-- Spools: their beats and their files, those that are gone for good, and files whose rows are lost.

create function rushes.lost_row_seen(p_node uuid, p_copy uuid, p_account uuid, p_recording uuid, p_bytes bigint, p_walk bigint)
	returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	insert into rushes.lost_row (node, copy, account, recording, bytes, walk)
	values (p_node, p_copy, p_account, p_recording, p_bytes, p_walk)
	on conflict (node, copy) do update set walk = excluded.walk, bytes = excluded.bytes
$$;

-- A whole walk has ended: what it did not see is no longer there.
create function rushes.lost_rows_settle(p_node uuid, p_walk bigint) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$ delete from rushes.lost_row where node = p_node and walk <> p_walk $$;

-- The spool removed a file that has no row: the ledger gets its entry, unless it has one.
create function rushes.stray_gone(p_node uuid, p_copy uuid, p_account uuid, p_recording uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	delete from rushes.lost_row where node = p_node and copy = p_copy;
	if not exists (select from rushes.ledger l where l.copy = p_copy and l.kind = 'gone') then
		perform rushes.add_ledger('gone', p_account, p_recording, p_copy, null, 'node/' || p_node, '{"unlinked": true, "lost_row": true}');
	end if;
end $$;

-- A person gives up a file whose row is lost: its spool removes it at its next walk.
create function rushes.lost_row_discard(p_actor text, p_node uuid, p_copy uuid, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.lost_row;
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'a file is discarded with a reason');
	end if;
	update rushes.lost_row set discarded_at = coalesce(discarded_at, rushes.rushes_now()) where node = p_node and copy = p_copy
	returning * into v;
	if not found then
		perform rushes.refuse('RU002', format('spool %s holds no file of copy %s whose row is lost', p_node, p_copy));
	end if;
	perform rushes.add_ledger('decided', v.account, v.recording, v.copy, 'deleted-by-user', 'node/' || p_node, '{"lost_row": true}');
	perform rushes.add_audit(p_actor, 'node.discard', v.account, p_copy::text,
		jsonb_build_object('reason', p_reason, 'node', p_node, 'recording', v.recording, 'bytes', v.bytes));
end $$;

-- A spool with what lies on it, as one JSON object; no row: there is no such spool.
create function rushes.node_show(p_node uuid) returns jsonb
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select jsonb_build_object(
		'id', n.id, 'service', n.service, 'region', n.region, 'state', n.state, 'peer_url', n.peer_url,
		'registered_at', n.registered_at, 'beat_at', n.beat_at,
		'is_silent', n.beat_at < rushes.rushes_now() - rushes.node_silence(), 'beats', n.beats,
		'free_bytes', n.free_bytes, 'capacity_bytes', n.capacity_bytes,
		'retired_at', n.retired_at, 'attested_by', n.attested_by,
		'copies', (select coalesce(jsonb_object_agg(c.state, c.n), '{}') from (
				select state, count(*) as n from rushes.copy where node = n.id group by state) c),
		'jobs', (select coalesce(jsonb_object_agg(j.what, j.n), '{}') from (
				select kind || ' ' || state as what, count(*) as n from rushes.job where node = n.id group by 1) j),
		'lost_rows', (select coalesce(jsonb_agg(jsonb_build_object('copy', l.copy, 'recording', l.recording, 'bytes', l.bytes,
				'first_seen_at', l.first_seen_at, 'discarded_at', l.discarded_at,
				'key', case when exists (select from rushes.recording_key k where k.recording = l.recording)
					    then 'there' else 'gone: nobody can read it' end)
				order by l.first_seen_at, l.copy), '[]') from rushes.lost_row l where l.node = n.id))
	from rushes.node n where n.id = p_node
$$;

-- Nodes that are gone for good -----------------------------------------------------------------------------------------

-- A person attests that the disk of a spool is destroyed. From now on nothing waits for it, and it may not come back. Refused
-- while it beats. Its copies are then worked off by node_retire_work; doing it again goes on with that.
create function rushes.node_retire(p_actor text, p_node uuid, p_attested_by text, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	n rushes.node;
begin
	if coalesce(p_reason, '') = '' or coalesce(p_attested_by, '') = '' then
		perform rushes.refuse('RU005', 'a spool is retired with a reason, and the name of who attests that its disk is destroyed');
	end if;
	select * into n from rushes.node where id = p_node for update;
	if not found then
		perform rushes.refuse('RU002', format('there is no spool %s', p_node));
	elsif n.state = 'retired' then
		return;
	elsif n.beat_at >= rushes.rushes_now() - rushes.node_silence() then
		perform rushes.refuse('RU001', format('spool %s beats: stop its service first, and retire it only when its disk is destroyed', p_node));
	end if;
	update rushes.node set state = 'retired', retired_at = rushes.rushes_now(), attested_by = p_attested_by where id = p_node;
	perform rushes.add_audit(p_actor, 'node.retire', null, p_node::text,
		jsonb_build_object('reason', p_reason, 'attested_by', p_attested_by));
end $$;

-- Whether every byte of a recording's raw lies on spools that are there.
create function rushes.raw_is_whole(p_recording uuid) returns boolean
	language sql stable
	as $$
	select bool_and(exists (select from rushes.copy c where c.recording = g.recording and c.segment = g.number
				and c.state = 'present'))
	from rushes.segment g where g.recording = p_recording and coalesce(g.bytes, 1) > 0
$$;

-- Sends a recording on its way again from its raw on ingest: what was made of it is lost, and nothing of it was delivered.
create function rushes.recording_redrive(p_recording uuid) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
	j rushes.job;
begin
	for j in select * from rushes.job where recording = p_recording and kind in ('copy', 'convert', 'push') for update loop
		perform rushes.finish_job(j, 'cancelled', case when j.state = 'running' then 'cancelled' end, null, 'its spool is destroyed');
	end loop;
	perform rushes.copies_set_going(array(select c.id from rushes.copy c
		where c.recording = p_recording and c.kind is not null), null, null);
	delete from rushes.push where recording = p_recording;
	delete from rushes.file where recording = p_recording;
	if (select state from rushes.recording where id = p_recording) <> 'saved' then
		perform rushes.set_recording_state(p_recording, 'saved');
	end if;
	update rushes.recording set copied_at = null, processed_at = null, closed_at = null where id = p_recording returning * into r;
	insert into rushes.job (kind, account, region, recording, node, trace)
	select 'copy', r.account, r.region, r.id, g.node, r.trace
	from rushes.segment g where g.recording = r.id order by g.number limit 1;
end $$;

-- What becomes of one recording that had copies on a destroyed spool. The recording is locked; the copies' rows are gone.
create function rushes.recording_after_loss(p_actor text, r rushes.recording, p_node uuid) returns void
	language plpgsql
	as $$
declare
	j rushes.job;
	v_kept boolean := exists (select from rushes.copy c where c.recording = r.id and c.state in ('present', 'released'));
	v_delivered boolean := exists (select from rushes.copy c where c.recording = r.id and c.target is not null
				       and c.state in ('present', 'released'));
	v_waits boolean := exists (select from rushes.job x where x.recording = r.id and x.kind in ('copy', 'convert', 'push'));
begin
	if r.state = 'open' then
		-- the page has what was not copied: it sends again from where the bytes end that are left
		if not v_kept then
			delete from rushes.segment where recording = r.id;
			update rushes.job x set node = null where x.recording = r.id and x.kind = 'copy';
		end if;
	elsif not v_kept then
		perform rushes.add_event('copy.lost', r.account, r.id);
		perform rushes.recordings_delete(array[r.id], 'deleted-by-user', false);
		perform rushes.add_audit(p_actor, 'recording.lost', r.account, r.id::text, jsonb_build_object('node', p_node));
	elsif not v_delivered and v_waits and rushes.raw_is_whole(r.id) then
		perform rushes.recording_redrive(r.id);
	else
		-- what is delivered or lies elsewhere stays; what needed the lost copies can no longer be done
		for j in select x.* from rushes.job x
			 where x.recording = r.id
			   and (x.kind = 'push' and not exists (select from rushes.copy c where c.recording = r.id and c.kind = x.file_kind
								and c.node is not null and c.state = 'present')
				or x.kind = 'convert' and not exists (select from rushes.copy c where c.recording = r.id and c.kind = 'raw'
								      and c.node is not null and c.state = 'present')
				or x.kind = 'copy' and not rushes.raw_is_whole(r.id))
			 order by x.rank for update
		loop
			perform rushes.finish_job(j, 'failed', 'failed', 'reject', 'its spool is destroyed');
			perform rushes.job_gave_up(j, 'its spool is destroyed');
		end loop;
	end if;
end $$;

-- Works off copies of a retired spool: each is gone, on the word of who attested it. Returns how many are left.
create function rushes.node_retire_work(p_actor text, p_node uuid, p_limit integer) returns bigint
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	n rushes.node;
	r rushes.recording;
	v_id uuid;
begin
	select * into n from rushes.node where id = p_node;
	if n.state is distinct from 'retired' then
		perform rushes.refuse('RU001', format('spool %s is not retired', p_node));
	end if;
	for v_id in select distinct c.recording from rushes.copy c where c.node = p_node order by c.recording limit p_limit loop
		select * into r from rushes.recording where id = v_id for update;
		perform rushes.add_ledger('gone', c.account, c.recording, c.id, case when c.state = 'going' then c.rule end, 'node/' || p_node,
			jsonb_build_object('node_destroyed_attested_by', n.attested_by))
		from rushes.copy c where c.recording = v_id and c.node = p_node;
		delete from rushes.copy where recording = v_id and node = p_node;
		if r.state <> 'open' and not exists (select from rushes.copy c where c.recording = v_id and c.node is not null) then
			delete from rushes.recording_key where recording = v_id;
		end if;
		if r.state not in ('deleting', 'deleted') then
			perform rushes.recording_after_loss(p_actor, r, p_node);
		end if;
		perform rushes.retention_recompute(v_id);
		perform rushes.recordings_try_complete(array[v_id]);
	end loop;
	delete from rushes.lost_row where node = p_node;
	delete from rushes.unknown_file where node = p_node;
	return (select count(*) from rushes.copy where node = p_node);
end $$;

-- What PostgreSQL knows of a file on a spool, by the copy that its header names: `known`, `gone` (by the ledger, or its
-- recording is deleted), `lost-row` (neither tables nor ledger know a copy that a sealed header names).
create function rushes.file_fate(p_node uuid, p_copy uuid, p_recording uuid) returns text
	language sql stable
	as $$
	select case
		when exists (select from rushes.copy c where c.id = p_copy and c.node = p_node) then 'known'
		when exists (select from rushes.ledger l where l.copy = p_copy and l.kind = 'gone') then 'gone'
		when exists (select from rushes.recording r where r.id = p_recording and r.state = 'deleted') then 'gone'
		when exists (select from rushes.lost_row w where w.node = p_node and w.copy = p_copy and w.discarded_at is not null)
			then 'gone'
		-- decided, but its rows were lost when the database was restored: nobody else can end it
		when not exists (select from rushes.recording r where r.id = p_recording)
		 and exists (select from rushes.ledger l
			     where l.recording = p_recording and l.kind = 'decided' and l.copy is null and l.place is null) then 'gone'
		else 'lost-row' end
$$;

create function rushes.spool_file_fate(p_node uuid, p_copy uuid, p_recording uuid) returns text
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$ select rushes.file_fate(p_node, p_copy, p_recording) $$;

-- A spool file without a sealed header: remembered at the first answer that nobody knows it; true when its 6 hours are over.
create function rushes.unknown_file_seen(p_node uuid, p_name text) returns boolean
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	insert into rushes.unknown_file as u (node, name) values (p_node, p_name)
	on conflict (node, name) do update set name = excluded.name
	returning u.first_answer_at <= rushes.rushes_now() - interval '6 hours' and not rushes.is_paused('unknown', 'node/' || p_node)
$$;

-- It was removed. It was nobody's, so its entry names no account.
create function rushes.unknown_file_gone(p_node uuid, p_name text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_since timestamptz;
begin
	delete from rushes.unknown_file where node = p_node and name = p_name returning first_answer_at into v_since;
	if found then
		perform rushes.add_ledger('gone', '00000000-0000-0000-0000-000000000000', null, null, 'unknown', 'node/' || p_node,
			jsonb_build_object('name', p_name, 'unknown_since', v_since));
	end if;
end $$;

-- The copies that rows place on a node: for the start-up scan and for `incoming` ones that nobody works on.
create function rushes.copies_on_node(p_node uuid, p_after uuid, p_limit integer)
	returns table (copy uuid, recording uuid, segment integer, kind text, state text, location text, temporary text,
		       job uuid, attempt integer, is_worked_on boolean)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select c.id, c.recording, c.segment, c.kind, c.state, c.location, c.temporary, c.job, c.attempt,
	       exists (select from rushes.job j where j.id = c.job and j.attempt = c.attempt and j.state = 'running')
	from rushes.copy c
	where c.node = p_node and c.id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
	order by c.id limit p_limit
$$;

-- Refuses what would lie on a spool that is retired.
create function rushes.require_node(p_node uuid) returns void
	language plpgsql
	as $$
begin
	if (select state from rushes.node where id = p_node) = 'retired' then
		perform rushes.refuse('RU003', format('spool %s is retired', p_node));
	end if;
end $$;

-- A spool beats: registers at first, then says that it lives and how much room it has.
create function rushes.node_beat(p_node uuid, p_region text, p_service text, p_peer_url text, p_capacity bigint,
				 p_free bigint, p_read_only boolean) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_state text;
	v_silent boolean;
begin
	select n.beat_at < rushes.rushes_now() - rushes.node_silence(), n.state into v_silent, v_state
	from rushes.node n where n.id = p_node;
	-- somebody attested that its disk is destroyed: it does not come back
	if v_state = 'retired' then
		return v_state;
	end if;
	insert into rushes.node as n (id, region, service, peer_url, capacity_bytes, free_bytes)
	values (p_node, p_region, p_service, p_peer_url, p_capacity, p_free)
	on conflict (id) do update
	set peer_url = excluded.peer_url, capacity_bytes = excluded.capacity_bytes, free_bytes = excluded.free_bytes,
	    beat_at = rushes.rushes_now(),
	    state = case when n.state in ('retiring', 'retired') then n.state
			 when p_read_only then 'read-only' else 'active' end
	where n.region = excluded.region and n.service = excluded.service
	returning n.state into v_state;
	if v_state is null then
		perform rushes.refuse('RU003', format('node %s is registered for another region or service', p_node));
	end if;
	if v_silent then
		-- the reconnect window counts from the return of the node that holds the bytes
		update rushes.recording r set last_byte_at = rushes.rushes_now()
		where r.state = 'open' and exists (select from rushes.segment s where s.recording = r.id and s.node = p_node);
	end if;
	return v_state;
end $$;

grant execute on function
	rushes.node_beat(uuid, text, text, text, bigint, bigint, boolean), rushes.spool_file_fate(uuid, uuid, uuid),
	rushes.unknown_file_seen(uuid, text), rushes.unknown_file_gone(uuid, text), rushes.copies_on_node(uuid, uuid, integer)
	to rushes_ingest, rushes_transcoder;
grant execute on function
	rushes.lost_row_seen(uuid, uuid, uuid, uuid, bigint, bigint), rushes.lost_rows_settle(uuid, bigint),
	rushes.stray_gone(uuid, uuid, uuid, uuid)
	to rushes_ingest, rushes_transcoder;
grant execute on function
	rushes.node_show(uuid), rushes.node_retire(text, uuid, text, text), rushes.node_retire_work(text, uuid, integer),
	rushes.lost_row_discard(text, uuid, uuid, text)
	to rushes_ctl;
grant select on rushes.lost_row to rushes_ctl;
