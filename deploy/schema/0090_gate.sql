-- The gate: a restored database is `restoring`, and no step works in it before it was reconciled (0091_restore.sql). That it
-- was restored is recognised by the database itself, against what the row `installation` remembers:
--
--	another cluster, database or table: it was loaded from a dump
--	another timeline: it was recovered to a point in time, or a standby took over
--	a spool has seen more beats than there are here, or the ledger target has more batches: it is a copy of its files
--
-- docs/decisions tells why these and no others. Gate and restore are numbered to be the last: the gate is put into every
-- function that was made before it.

-- A restore: from its discovery to the opening of the gate.
create table rushes.restore (
	id bigint generated always as identity primary key,
	found_at timestamptz not null default clock_timestamp(),
	cause text not null,
	why text not null,
	-- the last batch of the ledger that the restored database had itself
	base_batch bigint not null,
	-- the last batch of the ledger target, and batches that were read from it
	target_batch bigint,
	imported bigint not null default 0,
	-- null while the gate is closed
	opened_at timestamptz,
	opened_by text,
	reason text
);

-- What a restore found and did, for people: one row per thing.
create table rushes.restore_finding (
	restore bigint not null references rushes.restore,
	what text not null,
	recording uuid,
	copy uuid,
	place text,
	detail text,
	at timestamptz not null default clock_timestamp()
);
create unique index restore_finding_once on rushes.restore_finding
	(restore, what, coalesce(recording, '00000000-0000-0000-0000-000000000000'),
	 coalesce(copy, '00000000-0000-0000-0000-000000000000'), coalesce(place, ''));

-- Recordings that imported ledger entries are about, and that are still to be brought into agreement with them.
create table rushes.restore_work (
	recording uuid primary key
);

-- The sealed files that lie on each spool, as the spools report them while the gate is closed.
create table rushes.spool_inventory (
	node uuid not null references rushes.node,
	copy uuid not null,
	recording uuid not null,
	bytes bigint not null,
	primary key (node, copy)
);

-- What this database is now. `timeline` is null on a standby and while the server recovers.
create function rushes.incarnation(out system_identifier bigint, out timeline text, out database_oid oid, out relation_oid oid)
	language sql stable
	as $$
	select (pg_control_system()).system_identifier,
	       case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) end,
	       (select d.oid from pg_database d where d.datname = current_database()), 'rushes.installation'::regclass::oid
$$;

-- Why this is not the incarnation that the gate was opened for, or no row when it is.
create function rushes.restored(out cause text, out why text)
	language plpgsql stable
	as $$
declare
	i rushes.installation;
	n record;
begin
	select * into i from rushes.installation;
	select * into n from rushes.incarnation();
	if n.system_identifier is distinct from i.system_identifier then
		cause := 'dump';
		why := 'this is another PostgreSQL cluster than the one that the gate was opened in: a dump was loaded';
	elsif (n.database_oid, n.relation_oid) is distinct from (i.database_oid, i.relation_oid) then
		cause := 'dump';
		why := 'the tables were made again since the gate was opened: a dump was loaded';
	elsif n.timeline is distinct from i.timeline then
		cause := 'timeline';
		why := format('the server is on timeline %s, the gate was opened on %s: it was recovered to a point in time, or a standby took over',
			coalesce(n.timeline, 'of a standby'), i.timeline);
	end if;
end $$;

-- Refuses (RU006) unless the gate is open. The comparison of the whole incarnation costs some microseconds; as long as it is
-- the same server process, database and table, it was made. p_reading: the operator may look while the gate is closed.
create function rushes.require_open(p_reading boolean default false) returns boolean
	language plpgsql stable
	as $$
declare
	v_is_open boolean;
	v_is_same boolean;
begin
	select i.state = 'open',
	       i.server_start = pg_postmaster_start_time() and i.relation_oid = i.tableoid
	       and i.database_oid = (select d.oid from pg_database d where d.datname = current_database())
	into v_is_open, v_is_same from rushes.installation i;
	if v_is_open and v_is_same or p_reading and session_user = 'rushes_ctl' then
		return true;
	end if;
	if not v_is_open or (select cause from rushes.restored()) is not null then
		perform rushes.refuse('RU006', 'the database was restored and nothing works in it before '
			'`rushesctl restore reconcile`; `rushesctl restore status` tells more');
	end if;
	return true;
end $$;

-- The same for steps that delete by date: since the server's start also somebody outside must have confirmed that this is not
-- an older copy of the database's files, which PostgreSQL itself cannot tell from the newest.
create function rushes.require_witnessed() returns boolean
	language plpgsql stable
	as $$
begin
	perform rushes.require_open();
	if (select i.witnessed_start from rushes.installation i) is distinct from pg_postmaster_start_time() then
		perform rushes.refuse('RU006', 'PostgreSQL started again, and neither a spool nor the janitor has confirmed yet that '
			'the database is the newest');
	end if;
	return true;
end $$;

-- Closes the gate, once per restore.
create function rushes.gate_close(p_cause text, p_why text) returns void
	language plpgsql
	as $$
begin
	update rushes.installation
	set state = 'restoring', restoring_since = clock_timestamp(), restoring_cause = p_cause, restoring_why = p_why
	where state = 'open';
	if not found then
		return;
	end if;
	insert into rushes.restore (cause, why, base_batch)
	select p_cause, p_why, coalesce(max(b.id), 0) from rushes.ledger_batch b;
	delete from rushes.restore_work;
	delete from rushes.spool_inventory;
	update rushes.node set witnessed_at = null, is_ahead = false, inventory_at = null;
	perform rushes.add_audit('gate', 'restore.found', null, null, jsonb_build_object('cause', p_cause, 'why', p_why));
end $$;

-- Remembers the incarnation and the server for which the gate is open. p_witnessed: it is the newest for certain.
create function rushes.gate_remember(p_witnessed boolean) returns void
	language sql
	as $$
	update rushes.installation
	set (system_identifier, timeline, database_oid, relation_oid) =
		(select n.system_identifier, n.timeline, n.database_oid, n.relation_oid from rushes.incarnation() n),
	    server_start = pg_postmaster_start_time(),
	    witnessed_start = case when p_witnessed then pg_postmaster_start_time() else witnessed_start end
$$;
select rushes.gate_remember(true);

-- Whether commits of this session wait for a standby.
create function rushes.commits_wait() returns boolean
	language sql stable
	as $$
	select current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') in ('on', 'remote_apply')
$$;

-- Whether a service may work, asked by every service at its start and every few seconds; and the database's clock for the
-- brakes. A database that finds itself restored closes its gate here.
create function rushes.service_gate() returns table (state text, now timestamptz, why text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	i rushes.installation;
	v record;
begin
	now := clock_timestamp();
	if pg_is_in_recovery() then
		state := 'restoring';
		why := 'the server is a standby, or still recovers';
		return next;
		return;
	end if;
	select * into v from rushes.restored();
	select * into i from rushes.installation;
	if i.state = 'open' and v.cause is not null then
		perform rushes.gate_close(v.cause, v.why);
	elsif i.state = 'open' and i.server_start is distinct from pg_postmaster_start_time() then
		perform rushes.gate_remember(false);
	end if;
	if i.state = 'open' and v.cause is null and i.is_synchronous <> rushes.commits_wait() then
		update rushes.installation set is_synchronous = rushes.commits_wait();
	end if;
	select x.state, x.restoring_why into state, why from rushes.installation x;
	return next;
end $$;

-- Somebody outside has seen the database as it is now.
create function rushes.gate_witnessed() returns void
	language sql
	as $$
	update rushes.installation set witnessed_start = pg_postmaster_start_time()
	where state = 'open' and witnessed_start is distinct from pg_postmaster_start_time()
$$;

-- Whether sweeps wait for somebody to confirm the database since the server's start.
create function rushes.gate_waits() returns boolean
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select i.state = 'open' and i.witnessed_start is distinct from pg_postmaster_start_time() from rushes.installation i
$$;

-- A spool tells how many beats it has seen written down, before it does anything else; the answer is the next number, which it
-- keeps, or null: the gate is closed. A database that knows fewer is an older copy. Only a spool that beat about as lately as
-- any other before the server started, by this database, is a witness for it: one that was away for long knows no better.
create function rushes.node_witness(p_node uuid, p_seen bigint) returns bigint
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_start timestamptz := rushes.rushes_now() - (clock_timestamp() - pg_postmaster_start_time());
	n rushes.node;
	v_state text := (select g.state from rushes.service_gate() g);
begin
	select * into n from rushes.node where id = p_node for update;
	if not found then
		return case when v_state = 'open' then p_seen end;
	end if;
	if v_state = 'open' and n.beats is not null and p_seen > n.beats then
		perform rushes.gate_close('witness', format('spool %s has seen %s beats written down, this database knows of %s: '
			'it is an older copy', p_node, p_seen, n.beats));
		v_state := 'restoring';
	end if;
	if v_state <> 'open' then
		update rushes.node set witnessed_at = clock_timestamp(), is_ahead = is_ahead or p_seen > coalesce(n.beats, p_seen)
		where id = p_node;
		return null;
	end if;
	if p_seen > 0 and n.beat_at < v_start
	   and n.beat_at >= (select max(x.beat_at) from rushes.node x where x.beat_at < v_start) - rushes.node_silence() then
		perform rushes.gate_witnessed();
	end if;
	update rushes.node set beats = greatest(coalesce(beats, 0), p_seen) + 1 where id = p_node returning beats into n.beats;
	return n.beats;
end $$;

-- The janitor compares the ledger's last batch with the ledger target. p_last: the last batch that the target has, 0 for none,
-- null: there is no target; p_root: that batch's root, or null. A target that has more than the database, or another batch in one's place,
-- closes the gate. Returns what there is to be told, or null.
create function rushes.gate_compare(p_last bigint, p_root bytea) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_here bigint;
	v_root bytea;
begin
	perform from rushes.service_gate();
	select coalesce(max(id), 0) into v_here from rushes.ledger_batch;
	select root into v_root from rushes.ledger_batch where id = p_last;
	if p_last > v_here then
		perform rushes.gate_close('ledger-target', format('the ledger target has batch %s, this database ends with %s: it is an older copy',
			p_last, v_here));
		return 'the ledger target is ahead of the database';
	elsif p_last > 0 and v_root is distinct from p_root then
		perform rushes.gate_close('ledger-target', format('batch %s of the ledger target is another one than here: '
			'the database went on from an older copy', p_last));
		return 'the ledger target has another batch than the database';
	elsif exists (select from rushes.ledger_batch where id > p_last and published_at is not null) then
		return format('the ledger target ends with batch %s, but later ones were brought to it', p_last);
	end if;
	perform rushes.gate_witnessed();
	return null;
end $$;

-- Opens the gate without a person after a standby took over, when it is proven that nothing was lost: commits waited for a
-- standby, the ledger target is not ahead, and every spool that was alive has reported and has seen no beat that is not here.
-- Returns why not, or null: it is open.
create function rushes.gate_try_open(p_last bigint, p_root bytea) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	i rushes.installation;
	v_why text;
	v_waits_for text;
begin
	select * into i from rushes.installation for update;
	if i.state = 'open' then
		return null;
	end if;
	select string_agg(n.id::text, ', ' order by n.id) into v_waits_for from rushes.node n
	where n.state in ('active', 'read-only') and n.witnessed_at is null
	  and n.beat_at >= (select max(x.beat_at) from rushes.node x) - rushes.node_silence();
	p_last := coalesce(p_last, 0);
	v_why := case
		when i.restoring_cause <> 'timeline' then i.restoring_why
		when not i.is_synchronous then 'commits did not wait for a standby: the newest may be lost'
		when current_setting('recovery_target_time') <> '' or current_setting('recovery_target_lsn') <> ''
		  or current_setting('recovery_target_xid') <> '' or current_setting('recovery_target_name') <> ''
		  or current_setting('recovery_target') <> '' then 'the server was recovered to a point in time'
		when p_last > (select coalesce(max(id), 0) from rushes.ledger_batch) then 'the ledger target is ahead of the database'
		when p_last > 0 and p_root is distinct from (select root from rushes.ledger_batch where id = p_last)
			then 'the ledger target has another batch than the database'
		when exists (select from rushes.node where is_ahead) then 'a spool has seen beats that are not written down here'
		when v_waits_for is not null then 'it waits for the spools ' || v_waits_for end;
	if v_why is not null then
		return v_why;
	end if;
	perform rushes.gate_remember(true);
	update rushes.installation set state = 'open', restoring_since = null, restoring_cause = null, restoring_why = null;
	update rushes.restore set opened_at = clock_timestamp(), opened_by = 'gate',
		reason = 'a standby took over, and nothing was lost'
	where opened_at is null;
	perform rushes.add_audit('gate', 'restore.open', null, null, '{"proven": "nothing was lost"}');
	return null;
end $$;

-- Puts the gate at the beginning of every function that services and the operator may execute, so that none can be forgotten:
-- the migration that adds a function calls it again. Left out are the gate's own and what works while it is closed.
create function rushes.gate_functions() returns integer
	language plpgsql
	as $f$
declare
	v_own text[] := array['service_gate', 'gate_waits', 'node_witness', 'gate_compare', 'gate_try_open'];
	v_delete_by_date text[] := array['sweep_decide', 'personal_sweep', 'account_keys_sweep', 'link_sweep'];
	f record;
	v_gate text;
	v_gate_line text;
	v_body text;
	v_count integer := 0;
begin
	for f in
		select p.proname, p.prosrc, l.lanname, pg_get_functiondef(p.oid) as definition,
		       p.provolatile <> 'v' as is_reading
		from pg_proc p join pg_language l on l.oid = p.prolang
		where p.pronamespace = 'rushes'::regnamespace and p.prosecdef and p.proname <> all (v_own)
		  and p.proname !~ '^restore_' and p.prosrc !~ 'rushes\.require_(open|witnessed)\('
		  and exists (select from aclexplode(p.proacl) a
			      where a.grantee <> p.proowner and a.privilege_type = 'EXECUTE')
		order by p.oid
	loop
		v_gate := case when f.proname = any (v_delete_by_date) then 'rushes.require_witnessed()'
			       when f.is_reading then 'rushes.require_open(true)'
			       else 'rushes.require_open()' end;
		-- before other declarations, which may lock rows and refuse for reasons of their own
		v_gate_line := format(E'declare\n\tgate_is_open constant boolean := %s;\n', v_gate);
		v_body := case when f.lanname = 'sql' then format(E'\n\tselect %s;%s', v_gate, f.prosrc)
			       when f.prosrc ~ '(^|\n)declare\n' then regexp_replace(f.prosrc, '(^|\n)declare\n', E'\\1' || v_gate_line)
			       else regexp_replace(f.prosrc, '(^|\n)begin\n', E'\\1' || v_gate_line || E'begin\n') end;
		if v_body = f.prosrc then
			raise exception 'function % has no place for the gate', f.proname;
		end if;
		execute replace(f.definition, '$function$' || f.prosrc || '$function$', '$function$' || v_body || '$function$');
		v_count := v_count + 1;
	end loop;
	return v_count;
end $f$;

grant execute on function rushes.service_gate() to
	rushes_ingest, rushes_linkgen, rushes_transcoder, rushes_pusher, rushes_janitor, rushes_ctl;
grant execute on function rushes.node_witness(uuid, bigint) to rushes_ingest, rushes_transcoder;
grant execute on function rushes.gate_waits(), rushes.gate_compare(bigint, bytea), rushes.gate_try_open(bigint, bytea) to rushes_janitor;
grant select on rushes.restore, rushes.restore_finding, rushes.spool_inventory to rushes_ctl;
