-- Reconciling a restored database with the ledger target, behind the closed gate: each function is one transaction that may
-- be repeated, and a reconcile that is killed goes on where it stopped. Only one works at a time.

-- Refuses unless the gate is closed; returns the restore that is being worked on. Others wait for this transaction.
create function rushes.restore_lock() returns rushes.restore
	language plpgsql
	as $$
declare
	v rushes.restore;
begin
	perform from rushes.installation where state = 'restoring' for update;
	if not found then
		perform rushes.refuse('RU001', 'the gate is open: there is nothing to reconcile');
	end if;
	select * into v from rushes.restore where opened_at is null order by id desc limit 1;
	return v;
end $$;

create function rushes.restore_note(p_restore bigint, p_what text, p_recording uuid, p_copy uuid, p_place text, p_detail text)
	returns void
	language sql
	as $$
	insert into rushes.restore_finding (restore, what, recording, copy, place, detail)
	values (p_restore, p_what, p_recording, p_copy, p_place, p_detail) on conflict do nothing
$$;

-- A person closes the gate: for a copy of the database's files that neither PostgreSQL nor a witness can tell.
create function rushes.restore_begin(p_actor text, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'the gate is closed with a reason');
	end if;
	perform rushes.gate_close('person', p_reason);
	perform rushes.add_audit(p_actor, 'restore.begin', null, null, jsonb_build_object('reason', p_reason));
end $$;

-- The state of the gate and of the last restore, as one JSON object.
create function rushes.restore_status() returns jsonb
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select jsonb_build_object(
		'state', i.state, 'since', i.restoring_since, 'cause', i.restoring_cause, 'why', i.restoring_why,
		'timeline', i.timeline, 'synchronous', i.is_synchronous,
		'last_batch', (select coalesce(max(id), 0) from rushes.ledger_batch),
		'restore', (select to_jsonb(x) - 'id' || jsonb_build_object(
				'left', (select count(*) from rushes.restore_work),
				'findings', (select coalesce(jsonb_object_agg(f.what, f.n), '{}') from (
					select what, count(*) as n from rushes.restore_finding where restore = x.id group by what) f))
			    from rushes.restore x order by x.id desc limit 1),
		'nodes', (select coalesce(jsonb_agg(jsonb_build_object(
				'id', n.id, 'service', n.service, 'state', n.state, 'beat_at', n.beat_at,
				'reported_at', n.inventory_at, 'is_ahead', n.is_ahead,
				'files', (select count(*) from rushes.spool_inventory v where v.node = n.id),
				'copies', (select count(*) from rushes.copy c where c.node = n.id and c.state in ('present', 'going')))
				order by n.service, n.id), '[]')
			  from rushes.node n where n.state <> 'retired'))
	from rushes.installation i
$$;

-- What the last restore found and did, in the order of its work.
create function rushes.restore_findings(p_limit integer)
	returns table (what text, recording uuid, copy uuid, place text, detail text, at timestamptz)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select f.what, f.recording, f.copy, f.place, f.detail, f.at from rushes.restore_finding f
	where f.restore = (select max(id) from rushes.restore) order by f.at, f.what, f.recording, f.copy limit p_limit
$$;

-- The ledger target's last batch, as it was found.
create function rushes.restore_target(p_last bigint) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
begin
	update rushes.restore set target_batch = p_last where id = v.id;
end $$;

-- Batches of this database that are not the ledger target's: it went on from an older copy. Their entries become unsealed and
-- are sealed again behind the target's. Only by an override, with its reason. Also for batches that a target lost which had
-- them: p_from is then behind its last one, and they are only brought there again.
create function rushes.restore_fork(p_actor text, p_from bigint, p_is_fork boolean, p_reason text) returns bigint
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
	v_count bigint;
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'this needs a reason');
	end if;
	perform rushes.add_audit(p_actor, case when p_is_fork then 'restore.fork' else 'restore.republish' end, null, null,
		jsonb_build_object('reason', p_reason, 'from', p_from, 'heads', (
			select coalesce(jsonb_object_agg(b.id, encode(b.root, 'hex')), '{}') from rushes.ledger_batch b where b.id >= p_from)));
	if p_is_fork then
		update rushes.ledger set batch = null, position = null where batch >= p_from;
		get diagnostics v_count = row_count;
		delete from rushes.ledger_batch where id >= p_from;
		update rushes.restore set base_batch = least(base_batch, p_from - 1) where id = v.id;
		perform rushes.restore_note(v.id, 'fork', null, null, null,
			format('%s entries of this database''s own batches from %s on are sealed again behind the target''s', v_count, p_from));
	else
		update rushes.ledger_batch set published_at = null where id >= p_from;
		get diagnostics v_count = row_count;
		perform rushes.restore_note(v.id, 'target-shorter', null, null, null,
			format('%s batches from %s on are brought to the ledger target again', v_count, p_from));
	end if;
	return v_count;
end $$;

-- A batch that cannot be read or verified at the ledger target, and that is passed over by an override.
create function rushes.restore_skip(p_actor text, p_batch bigint, p_detail text, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
begin
	if coalesce(p_reason, '') = '' then
		perform rushes.refuse('RU005', 'this needs a reason');
	end if;
	perform rushes.add_audit(p_actor, 'restore.skip', null, p_batch::text,
		jsonb_build_object('reason', p_reason, 'detail', p_detail));
	perform rushes.restore_note(v.id, 'batch-skipped', null, null, 'batch/' || p_batch, p_detail);
end $$;

-- Gives unsealed entries of this database new numbers where an imported batch has theirs for others: after a fork.
create function rushes.restore_renumber(p_texts jsonb) returns void
	language plpgsql
	as $$
declare
	l rushes.ledger;
	v_sequence text := pg_get_serial_sequence('rushes.ledger', 'id');
begin
	perform setval(v_sequence, greatest((select max(id) from rushes.ledger),
		(select max((t.text::jsonb ->> 'id')::bigint) from jsonb_array_elements_text(p_texts) t(text))));
	for l in
		select x.* from jsonb_array_elements_text(p_texts) t(text)
		join rushes.ledger x on x.id = (t.text::jsonb ->> 'id')::bigint
		where x.batch is null and x.hash <> sha256('\x00'::bytea || convert_to(t.text, 'UTF8'))
	loop
		delete from rushes.ledger where id = l.id;
		l.id := nextval(v_sequence);
		l.hash := sha256('\x00'::bytea || convert_to(rushes.ledger_text(l), 'UTF8'));
		insert into rushes.ledger overriding system value select l.*;
	end loop;
end $$;

-- Takes one verified batch of the ledger target into the ledger, as it was sealed, and notes which recordings it is about.
-- p_texts: the texts of its entries in their order. Entries that the restored database holds unsealed get their place. RU001:
-- it holds others under their numbers. p_override: a batch before it was skipped, or a fork was given up.
create function rushes.restore_import(p_batch bigint, p_root bytea, p_previous bytea, p_at timestamptz, p_key_id text,
				      p_signature bytea, p_texts jsonb, p_override boolean) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
	v_count integer;
begin
	if (select coalesce(max(id), 0) from rushes.ledger_batch) >= p_batch
	   or not p_override and (select coalesce(max(id), 0) from rushes.ledger_batch) <> p_batch - 1 then
		perform rushes.refuse('RU001', format('batch %s does not follow the last one', p_batch));
	end if;
	if p_override then
		perform rushes.restore_renumber(p_texts);
	end if;
	insert into rushes.ledger_batch (id, leaves, root, previous, at, key_id, signature, published_at)
	values (p_batch, jsonb_array_length(p_texts), p_root, p_previous, p_at, p_key_id, p_signature, rushes.rushes_now());
	insert into rushes.ledger as l (id, at, kind, account, recording, copy, rule, place, evidence, hash, batch, position)
	overriding system value
	select e.id, e.at, e.kind, e.account, e.recording, e.copy, e.rule, e.place, e.evidence,
	       sha256('\x00'::bytea || convert_to(t.text, 'UTF8')), p_batch, t.n - 1
	from jsonb_array_elements_text(p_texts) with ordinality t(text, n)
	cross join lateral jsonb_to_record(t.text::jsonb) e(id bigint, at timestamptz, kind text, account uuid, recording uuid,
		copy uuid, rule text, place text, evidence jsonb)
	on conflict (id) do update set batch = excluded.batch, position = excluded.position
	where l.batch is null and l.hash = excluded.hash;
	get diagnostics v_count = row_count;
	if v_count <> jsonb_array_length(p_texts) then
		perform rushes.refuse('RU001', format('this database has other entries under the numbers of batch %s: it went on '
			'after it was restored', p_batch));
	end if;
	if exists (select from rushes.ledger l where l.batch = p_batch
		   and l.hash <> sha256('\x00'::bytea || convert_to(rushes.ledger_text(l), 'UTF8'))) then
		perform rushes.refuse('RU005', format('an entry of batch %s is not written as the ledger writes it', p_batch));
	end if;
	perform setval(pg_get_serial_sequence('rushes.ledger', 'id'), (select max(id) from rushes.ledger));
	insert into rushes.restore_work (recording)
	select distinct l.recording from rushes.ledger l where l.batch = p_batch and l.recording is not null on conflict do nothing;
	perform rushes.restore_account(v.id, l) from rushes.ledger l
	where l.batch = p_batch and (l.recording is null or l.rule = 'account-closed') order by l.id;
	update rushes.restore set imported = imported + 1, target_batch = greatest(target_batch, p_batch) where id = v.id;
	return v_count;
end $$;

-- What an entry says of its account: closed again, its key destroyed again.
create function rushes.restore_account(p_restore bigint, l rushes.ledger) returns void
	language plpgsql
	as $$
declare
	v_keys integer;
begin
	if l.rule = 'account-closed' then
		update rushes.account set closed_at = l.at, rules_version = rules_version + 1 where id = l.account and closed_at is null;
		if found then
			update rushes.link set revoked_at = l.at where account = l.account and revoked_at is null;
			update rushes.session set revoked_at = l.at where account = l.account and revoked_at is null;
			perform rushes.restore_note(p_restore, 'account-closed', null, null, 'account/' || l.account, null);
		end if;
	end if;
	if l.recording is null and l.kind = 'gone' and l.evidence ->> 'account_key' = 'destroyed' then
		delete from rushes.recording_key where account = l.account;
		delete from rushes.account_key where account = l.account;
		get diagnostics v_keys = row_count;
		if v_keys > 0 then
			perform rushes.restore_note(p_restore, 'account-key-destroyed', null, null, 'account/' || l.account, null);
		end if;
	end if;
end $$;

-- Ends jobs that a decision of the ledger left without a purpose.
create function rushes.restore_cancel_jobs(p_recording uuid, p_copy uuid) returns void
	language plpgsql
	as $$
declare
	j rushes.job;
begin
	for j in select * from rushes.job
		 where recording = p_recording and case when p_copy is null then kind <> 'delete' else copy = p_copy end for update
	loop
		perform rushes.finish_job(j, 'cancelled', case when j.state = 'running' then 'cancelled' end, null, null);
	end loop;
end $$;

-- Decides again what the ledger says was decided: as recording_delete, but the entry is there already.
create function rushes.restore_delete(p_restore bigint, r rushes.recording, d rushes.ledger) returns void
	language plpgsql
	as $$
begin
	perform rushes.restore_cancel_jobs(r.id, null);
	perform rushes.set_recording_state(r.id, 'deleting');
	update rushes.recording
	set deleting_at = d.at, delete_rule = d.rule, personal_due_at = rushes.rushes_now(), due_at = null, due_rule = null
	where id = r.id;
	delete from rushes.recording_key where recording = r.id;
	perform rushes.retention_recompute(r.id);
	perform rushes.copy_set_going(c.id, d.rule)
	from rushes.copy c left join rushes.target t on t.id = c.target
	where c.recording = r.id
	  and (c.state in ('incoming', 'lost') or (c.state = 'released' and t.delete_at_target));
	perform rushes.restore_note(p_restore, 'deleted-again', r.id, null, null, d.rule);
end $$;

-- A copy that an entry names as kept, and that the restored database does not know yet: its row and its file's come back.
-- Returns whether it did.
create function rushes.restore_kept_copy(r rushes.recording, k jsonb, p_at timestamptz) returns boolean
	language plpgsql
	as $$
declare
	v_copy uuid := (k ->> 'copy')::uuid;
	v_node uuid := case when k ->> 'place' like 'node/%' then substr(k ->> 'place', 6)::uuid end;
	v_target rushes.target;
	j rushes.job;
begin
	select * into v_target from rushes.target t where k ->> 'place' = 'target/' || t.id;
	if exists (select from rushes.ledger l where l.copy = v_copy and l.kind = 'gone')
	   or exists (select from rushes.copy c where c.id = v_copy and c.state <> 'incoming')
	   or (v_target.id is null and not exists (select from rushes.node n where n.id = v_node and n.state <> 'retired')) then
		return false;
	end if;
	insert into rushes.file (id, recording, account, kind, bytes, sha256, made_at)
	values (gen_random_uuid(), r.id, r.account, k ->> 'kind', (k ->> 'bytes')::bigint, decode(k ->> 'sha256', 'hex'), p_at)
	on conflict (recording, kind) do nothing;
	-- what the restored moment found half delivered
	delete from rushes.copy c where c.recording = r.id and c.kind = k ->> 'kind' and c.target = v_target.id and c.state = 'incoming';
	insert into rushes.copy (id, recording, account, region, kind, node, target, state, location, present_at)
	values (v_copy, r.id, r.account, r.region, k ->> 'kind', v_node, v_target.id,
		case when v_target.owner = 'client' then 'released' else 'present' end, k ->> 'location', p_at)
	on conflict do nothing;
	if v_target.id is not null then
		insert into rushes.push (recording, file_kind, target, state, at)
		values (r.id, k ->> 'kind', v_target.id, 'done', p_at)
		on conflict (recording, file_kind, target) do update set state = 'done', at = excluded.at;
		for j in select * from rushes.job x where x.recording = r.id and x.kind = 'push' and x.file_kind = k ->> 'kind'
			 and x.target = v_target.id for update loop
			perform rushes.finish_job(j, 'done', null, null, null);
		end loop;
	end if;
	return true;
end $$;

-- What the ledger says was made and delivered of a recording since the restored moment. A recording of which main is there again
-- is processed; one of which only the raw is goes on from it; else, when rows are gone that work still needs and the raw is whole
-- on ingest, everything is made again.
create function rushes.restore_kept(p_restore bigint, p_recording uuid, p_has_lost boolean) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
	k record;
	j rushes.job;
begin
	select * into r from rushes.recording where id = p_recording;
	for k in select e.v, l.at from rushes.ledger l cross join lateral jsonb_array_elements(l.evidence -> 'kept') e(v)
		 where l.recording = p_recording and l.kind = 'decided' order by l.id
	loop
		if rushes.restore_kept_copy(r, k.v, k.at) then
			perform rushes.restore_note(p_restore, 'copy-known-again', p_recording, (k.v ->> 'copy')::uuid, k.v ->> 'place', k.v ->> 'kind');
			update rushes.recording
			set saved_at = coalesce(saved_at, k.at), copied_at = coalesce(copied_at, k.at),
			    bytes = coalesce(bytes, case when k.v ->> 'kind' = 'raw' then (k.v ->> 'bytes')::bigint end),
			    sha256 = coalesce(sha256, case when k.v ->> 'kind' = 'raw' then decode(k.v ->> 'sha256', 'hex') end)
			where id = p_recording returning * into r;
		end if;
	end loop;
	if r.state in ('open', 'saved', 'failed-copy', 'failed-conversion') and exists (
		select from rushes.copy c where c.recording = p_recording and c.kind is not null and c.state in ('present', 'released')
		and exists (select from rushes.restore_finding f where f.copy = c.id and f.what = 'copy-known-again')) then
		for j in select * from rushes.job where recording = p_recording and kind in ('copy', 'convert') for update loop
			perform rushes.finish_job(j, 'cancelled', case when j.state = 'running' then 'cancelled' end, null, null);
		end loop;
		update rushes.segment set state = 'closed', bytes = coalesce(bytes, 0), closed_at = coalesce(closed_at, rushes.rushes_now())
		where recording = p_recording and state = 'open';
		-- past the table of changes: these steps were taken, and their rows are lost
		if exists (select from rushes.copy c where c.recording = p_recording and c.kind = 'main' and c.state in ('present', 'released')) then
			update rushes.recording set state = 'processed', processed_at = coalesce(processed_at, copied_at) where id = p_recording;
			if not exists (select from rushes.push p where p.recording = p_recording) then
				perform rushes.add_push_jobs(p_recording);
			end if;
		else
			update rushes.recording set state = 'saved' where id = p_recording;
			insert into rushes.job (kind, account, region, recording, node, trace)
			select 'convert', r.account, r.region, r.id, c.node, r.trace from rushes.copy c
			where c.recording = p_recording and c.kind = 'raw' and c.node is not null and c.state = 'present' limit 1;
		end if;
	elsif p_has_lost and r.state <> 'open' and rushes.raw_is_whole(p_recording)
	      and exists (select from rushes.job x where x.recording = p_recording and x.kind in ('copy', 'convert', 'push'))
	      and not exists (select from rushes.copy c where c.recording = p_recording and c.target is not null
			      and c.state in ('present', 'released')) then
		perform rushes.recording_redrive(p_recording);
		perform rushes.restore_note(p_restore, 'made-again', p_recording, null, null, 'from its raw on ingest');
	end if;
	perform rushes.recording_settle(p_recording);
end $$;

-- Brings one recording into agreement with the ledger: copies that are gone lose their rows, a hold stands as it was set or
-- lifted last, a deletion that was decided is decided again, one that was complete is.
create function rushes.restore_apply_one(p_restore rushes.restore, p_recording uuid) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
	c rushes.copy;
	d rushes.ledger;
	v_hold text;
	v_has_lost boolean := false;
begin
	select * into r from rushes.recording where id = p_recording for update;
	if not found then
		-- what the ledger began to delete of it: its row is lost, so nobody follows these
		perform rushes.restore_note(p_restore.id, 'unfinished', l.recording, l.copy, l.place, l.evidence ->> 'location')
		from rushes.ledger l
		where l.recording = p_recording and l.kind = 'decided' and l.copy is not null and l.place like 'target/%'
		  and not exists (select from rushes.ledger g where g.copy = l.copy and g.kind = 'gone');
		return;
	end if;
	for c in select x.* from rushes.copy x where x.recording = p_recording
		 and exists (select from rushes.ledger l where l.copy = x.id and l.kind = 'gone') for update
	loop
		perform rushes.restore_cancel_jobs(p_recording, c.id);
		delete from rushes.copy where id = c.id;
		perform rushes.restore_note(p_restore.id, 'copy-gone', p_recording, c.id, rushes.copy_place(c), null);
		v_has_lost := v_has_lost or c.kind is not null;
	end loop;
	if exists (select from rushes.ledger l where l.recording = p_recording and l.rule = 'personal-metadata' and l.kind = 'gone') then
		delete from rushes.recording_personal where recording = p_recording;
		update rushes.recording set personal_due_at = null where id = p_recording;
	end if;
	select l.kind into v_hold from rushes.ledger l
	where l.recording = p_recording and l.kind in ('hold-set', 'hold-lifted') order by l.id desc limit 1;
	if r.state not in ('deleting', 'deleted') and r.held is distinct from coalesce(v_hold = 'hold-set', r.held) then
		update rushes.recording set held = not r.held where id = p_recording;
		perform rushes.restore_note(p_restore.id, v_hold, p_recording, null, null, null);
	end if;
	select * into d from rushes.ledger l
	where l.recording = p_recording and l.copy is null and l.place is null and l.kind = 'decided' order by l.id desc limit 1;
	if d.id is not null and r.state not in ('deleting', 'deleted') then
		perform rushes.restore_delete(p_restore.id, r, d);
	elsif r.state not in ('deleting', 'deleted') then
		perform rushes.restore_kept(p_restore.id, p_recording, v_has_lost);
	end if;
	if (select state from rushes.recording where id = p_recording) = 'deleting'
	   and exists (select from rushes.ledger l where l.recording = p_recording and l.kind = 'complete')
	   and not exists (select from rushes.copy x where x.recording = p_recording and x.state <> 'released') then
		delete from rushes.recording_personal where recording = p_recording;
		perform rushes.recordings_tombstone(array[p_recording]);
	else
		perform rushes.recordings_try_complete(array[p_recording]);
	end if;
	perform rushes.retention_recompute(p_recording);
end $$;

-- Works off some of the recordings that imported entries are about. Returns how many are left.
create function rushes.restore_apply(p_limit integer) returns bigint
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
	v_id uuid;
begin
	for v_id in select recording from rushes.restore_work order by recording limit p_limit loop
		perform rushes.restore_apply_one(v, v_id);
		delete from rushes.restore_work where recording = v_id;
	end loop;
	return (select count(*) from rushes.restore_work);
end $$;

-- Spools --------------------------------------------------------------------------------------------------------------

-- A spool reports its sealed files while the gate is closed: [[copy, recording, bytes], ...], in pages; p_first forgets an
-- earlier report, p_last completes it. It beats with it. Returns whether a report is (still) wanted.
create function rushes.restore_report(p_node uuid, p_region text, p_service text, p_peer_url text, p_files jsonb,
				      p_first boolean, p_last boolean) returns boolean
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	i rushes.installation;
begin
	select * into i from rushes.installation for share;
	if i.state <> 'restoring' then
		return false;
	end if;
	insert into rushes.node as n (id, region, service, peer_url, beats)
	values (p_node, p_region, p_service, p_peer_url, null)
	on conflict (id) do update set peer_url = excluded.peer_url, beat_at = rushes.rushes_now()
	where n.region = excluded.region and n.service = excluded.service;
	if not found then
		perform rushes.refuse('RU003', format('node %s is registered for another region or service', p_node));
	end if;
	if p_files is null then
		return (select inventory_at is null from rushes.node where id = p_node);
	end if;
	if p_first then
		delete from rushes.spool_inventory where node = p_node;
	end if;
	insert into rushes.spool_inventory (node, copy, recording, bytes)
	select p_node, (f ->> 0)::uuid, (f ->> 1)::uuid, (f ->> 2)::bigint from jsonb_array_elements(p_files) f
	on conflict do nothing;
	if p_last then
		update rushes.node set inventory_at = clock_timestamp() where id = p_node;
	end if;
	return not p_last;
end $$;

-- What the reports of the spools say against the rows, before the gate opens: files whose row is missing, rows whose file is.
create function rushes.restore_compare() returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
begin
	-- as file_fate, in one pass over all files
	insert into rushes.restore_finding (restore, what, recording, copy, place, detail)
	select v.id, 'lost-row', i.recording, i.copy, 'node/' || i.node,
	       case when k.recording is not null then 'kept; its recording is there and its key opens it'
		    else 'kept; its key is gone: nobody can read it' end
	from rushes.spool_inventory i
	left join rushes.recording r on r.id = i.recording
	left join rushes.recording_key k on k.recording = i.recording
	where coalesce(r.state, '') <> 'deleted'
	  and not exists (select from rushes.copy c where c.id = i.copy and c.node = i.node)
	  and not exists (select from rushes.ledger l where l.copy = i.copy and l.kind = 'gone')
	  and not exists (select from rushes.lost_row w where w.node = i.node and w.copy = i.copy and w.discarded_at is not null)
	  and (r.id is not null or not exists (
		select from rushes.ledger l
		where l.recording = i.recording and l.kind = 'decided' and l.copy is null and l.place is null))
	on conflict do nothing;
	perform rushes.restore_note(v.id, 'missing', c.recording, c.id, 'node/' || c.node, 'the row says present, its spool has no file')
	from rushes.copy c join rushes.node n on n.id = c.node and n.inventory_at is not null
	where c.state = 'present' and not exists (select from rushes.spool_inventory i where i.node = c.node and i.copy = c.id);
end $$;

-- Copies that were being written at the restored moment. Bytes of a segment may have been acknowledged since: it is kept and
-- closed where it ends. A file that a job was writing is made again, unless what it was made of is no longer there.
create function rushes.restore_incoming(p_restore bigint) returns void
	language plpgsql
	as $$
declare
	c rushes.copy;
	v_is_there boolean;
begin
	for c in select * from rushes.copy where state = 'incoming' and node is not null order by recording, id loop
		perform from rushes.recording where id = c.recording for update;
		v_is_there := (select n.inventory_at is null from rushes.node n where n.id = c.node)
			or exists (select from rushes.spool_inventory i where i.node = c.node and i.copy = c.id);
		if v_is_there and c.segment is not null then
			update rushes.copy set state = 'present', present_at = rushes.rushes_now() where id = c.id;
			perform rushes.restore_note(p_restore, 'segment-kept', c.recording, c.id, rushes.copy_place(c), null);
		elsif v_is_there and not exists (
			select from rushes.copy x where x.recording = c.recording and x.id <> c.id and x.state in ('present', 'released')
			  and (x.segment is not null or x.kind in ('raw', 'main'))) then
			update rushes.copy set state = 'lost' where id = c.id;
			perform rushes.restore_note(p_restore, 'only-copy', c.recording, c.id, rushes.copy_place(c),
				'it was being written, and what it was made of is gone: kept for a person to look at');
		else
			perform rushes.copy_set_going(c.id, null);
		end if;
	end loop;
end $$;

-- Opens the gate. p_without_silent: spools that have not reported need not. Refuses while recordings are left to bring into
-- agreement, or a spool has not reported. Fences rise far above what the lost future may have given out, so that a process
-- that lived on from it can change nothing; every due date is derived again by the janitor, and by the sweeps before that.
create function rushes.restore_open(p_actor text, p_without_silent boolean, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v rushes.restore := rushes.restore_lock();
	v_left bigint;
	v_silent text;
begin
	select count(*) into v_left from rushes.restore_work;
	if v_left > 0 then
		perform rushes.refuse('RU001', format('%s recordings are still to be brought into agreement with the ledger', v_left));
	end if;
	select string_agg(n.id::text, ', ' order by n.id) into v_silent from rushes.node n
	where n.state <> 'retired' and n.inventory_at is null;
	if v_silent is not null and not p_without_silent then
		perform rushes.refuse('RU001', format('these spools have not reported: %s', v_silent));
	end if;
	perform rushes.restore_compare();
	perform rushes.restore_incoming(v.id);
	-- keys that open nothing any more, by the ledger and by what lies on the spools
	delete from rushes.recording_key k using rushes.restore_finding f
	where f.restore = v.id and f.what = 'copy-gone' and k.recording = f.recording
	  and not exists (select from rushes.copy c where c.recording = k.recording and c.node is not null)
	  and not exists (select from rushes.spool_inventory i where i.recording = k.recording)
	  and (select r.state from rushes.recording r where r.id = k.recording) <> 'open';
	update rushes.job
	set attempt = attempt + 1000, worker = null, lease_until = null, started_at = null,
	    state = case when state = 'running' then 'queued' else state end;
	update rushes.recording set stream_epoch = stream_epoch + 1000, last_byte_at = rushes.rushes_now() where state = 'open';
	delete from rushes.lease;
	delete from rushes.unknown_file;
	delete from rushes.spool_inventory;
	update rushes.node set beats = null;
	delete from rushes.rules_change;
	insert into rushes.rules_change (account) select id from rushes.account;
	perform rushes.gate_remember(true);
	update rushes.installation set state = 'open', restoring_since = null, restoring_cause = null, restoring_why = null,
		is_synchronous = rushes.commits_wait();
	update rushes.restore set opened_at = clock_timestamp(), opened_by = p_actor, reason = p_reason where id = v.id;
	perform rushes.add_audit(p_actor, 'restore.open', null, null, jsonb_build_object('restore', v.id, 'reason', p_reason,
		'without', v_silent, 'findings', (
			select coalesce(jsonb_object_agg(f.what, f.n), '{}') from (
				select what, count(*) as n from rushes.restore_finding where restore = v.id group by what) f)));
end $$;

grant execute on function
	rushes.restore_begin(text, text), rushes.restore_status(), rushes.restore_findings(integer), rushes.restore_target(bigint),
	rushes.restore_fork(text, bigint, boolean, text), rushes.restore_skip(text, bigint, text, text),
	rushes.restore_import(bigint, bytea, bytea, timestamptz, text, bytea, jsonb, boolean), rushes.restore_apply(integer),
	rushes.restore_compare(), rushes.restore_open(text, boolean, text)
	to rushes_ctl;
grant execute on function rushes.restore_report(uuid, text, text, text, jsonb, boolean, boolean) to rushes_ingest, rushes_transcoder;

select rushes.gate_functions();
