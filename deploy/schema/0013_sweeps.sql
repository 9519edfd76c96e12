-- The sweeps: what is due by a service's rules is decided, in batches, and brakes stop what wants too much.

-- Whether the brakes need not look at a rule on a place: it is paused already, or a person confirmed it within a day.
create function rushes.is_released(p_rule text, p_place text) returns boolean
	language plpgsql stable
	as $$
begin
	return exists (select from rushes.retention_pause p
		       where p.rule in (p_rule, '*') and p.place in (p_place, '*')
			 and (p.confirmed_at is null or p.confirmed_at > rushes.rushes_now() - interval '24 h'));
end $$;

-- The places of a rule where copies have a date by it, found by hops through the index: as many looks as there are places.
create function rushes.rule_places(p_rule text) returns table (id uuid, place text)
	language sql stable
	as $$
	with recursive hop(id) as (
		(select coalesce(c.node, c.target) from rushes.copy c
		 where c.rule = p_rule and c.state = 'present' and c.due_at is not null order by coalesce(c.node, c.target) limit 1)
		union all
		select (select coalesce(c.node, c.target) from rushes.copy c
			where c.rule = p_rule and c.state = 'present' and c.due_at is not null and coalesce(c.node, c.target) > h.id
			order by coalesce(c.node, c.target) limit 1)
		from hop h where h.id is not null
	)
	select h.id, case when exists (select from rushes.node n where n.id = h.id) then 'node/' else 'target/' end || h.id
	from hop h where h.id is not null
$$;

-- How many rows a brake lets go without a look, and the part of a place above which it pauses.
create function rushes.brake_floor() returns integer language sql immutable as $$ select 1000 $$;
create function rushes.brake_share() returns integer language sql immutable as $$ select 20 $$;

-- A rule wants so many of a place: paused there, unless a person confirmed it meanwhile. Returns whether it is paused now.
create function rushes.brake_pause(p_rule text, p_place text, p_wanted bigint, p_all bigint) returns boolean
	language plpgsql
	as $$
begin
	insert into rushes.retention_pause as p (rule, place, by, reason)
	values (p_rule, p_place, 'brake',
		format('it wants %s of %s at once, by dates that moved earlier within a day', p_wanted, p_all))
	on conflict (rule, place) do update
	set since = rushes.rushes_now(), by = excluded.by, reason = excluded.reason, confirmed_at = null
	where p.confirmed_at is not null;
	if found then
		perform rushes.add_audit('brake', 'retention.pause', null, p_rule || ' ' || p_place,
			jsonb_build_object('wanted', p_wanted, 'of', p_all));
	end if;
	return found;
end $$;

-- What the brakes found last at a rule that wants much, so that they need not count again before every batch: how much it
-- wanted and was let go, at least how much there was, and the last numbers of the ledger and of the queue rules_change before
-- they counted. Whoever works off that queue drops it.
create table rushes.brake_look (
	rule text not null,
	place text not null,
	entry bigint not null,
	change bigint not null,
	wanted bigint not null,
	at_least bigint not null,
	primary key (rule, place)
);

-- Whether what was let go at the last look is not used up (each decision is an entry of the ledger at least), and no facts of an
-- account or environment changed since.
create function rushes.brake_has_looked(p_rule text, p_place text) returns boolean
	language plpgsql volatile
	as $$
begin
	return exists (
		select from rushes.brake_look b cross join rushes.ledger_id_seq l cross join rushes.rules_change_id_seq q
		where b.rule = p_rule and b.place = p_place and l.last_value - b.entry < b.wanted and q.last_value = b.change);
end $$;

-- A rule wants p_n of a place, more than the floor (p_id: its node or target, null: of all recordings), counted after ledger and
-- queue had given the numbers p_entry and p_change: paused there, or let go and remembered. Returns whether it was paused now.
create function rushes.brake_decide(p_rule text, p_place text, p_id uuid, p_n bigint, p_entry bigint, p_change bigint)
	returns boolean
	-- reading on until it is enough is cheapest here
	language plpgsql set enable_seqscan = on set jit = off
	as $$
declare
	v_limit bigint := p_n * rushes.brake_share();
	-- what is gone since has left an entry each: a copy its own, a recording its last, with four kinds of files at a target
	v_all bigint := (select b.at_least - 4 * (p_entry - b.entry) from rushes.brake_look b
			 where b.rule = p_rule and b.place = p_place);
begin
	if coalesce(v_all, 0) < v_limit and p_id is null then
		select count(*) into v_all from (select from rushes.recording r where r.state <> 'deleted' limit v_limit) q;
	elsif coalesce(v_all, 0) < v_limit then
		select count(*) into v_all from (select from rushes.copy x where x.node = p_id limit v_limit) q;
		select v_all + count(*) into v_all from (select from rushes.copy x where x.target = p_id limit v_limit) q;
	end if;
	if v_all < v_limit then
		return rushes.brake_pause(p_rule, p_place, p_n, v_all);
	end if;
	insert into rushes.brake_look as b (rule, place, entry, change, wanted, at_least)
	values (p_rule, p_place, p_entry, p_change, p_n, v_all)
	on conflict (rule, place) do update
	set entry = excluded.entry, change = excluded.change, wanted = excluded.wanted, at_least = excluded.at_least;
	return false;
end $$;

-- The brakes, looked at before every batch of a sweep: a rule that wants more than max(1000, 5 %) of a place in copies of which no
-- other proven copy remains, and whose dates moved earlier within a day, is paused there until a person confirms. The same
-- for whole recordings. A place is counted only as far as decides, and again when what was let go is used up or facts of an
-- account or environment changed. Returns what was paused now.
create function rushes.sweep_brakes(p_slice text) returns table (rule text, place text, wanted bigint)
	language plpgsql security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
#variable_conflict use_column
declare
	v_now timestamptz := rushes.rushes_now();
	v_moved timestamptz := v_now - interval '24 h';
	v_place record;
	v_entry bigint;
	v_change bigint;
	v_n bigint;
begin
	for rule in select u.name from rushes.retention_rule u where u.slice = p_slice and u.braked order by 1 loop
		for v_place in select p.id, p.place from rushes.rule_places(rule) p where not rushes.is_released(rule, p.place) loop
			select count(*) into v_n from (
				select from rushes.copy x
				where x.state = 'present' and x.rule = sweep_brakes.rule and coalesce(x.node, x.target) = v_place.id
				  and x.due_at <= v_now limit rushes.brake_floor() + 1) q;
			continue when v_n <= rushes.brake_floor() or rushes.brake_has_looked(rule, v_place.place);
			select l.last_value, q.last_value into v_entry, v_change from rushes.ledger_id_seq l, rushes.rules_change_id_seq q;
			select count(*) into v_n
			from rushes.copy x join rushes.recording g on g.id = x.recording and g.state <> 'deleting'
			where x.state = 'present' and x.rule = sweep_brakes.rule and coalesce(x.node, x.target) = v_place.id
			  and x.due_at <= v_now and x.due_earlier_at > v_moved
			  and not exists (
				select from rushes.copy y
				where y.recording = x.recording and y.id <> x.id and y.state in ('present', 'released')
				  and (y.kind = x.kind or (x.segment is not null and y.kind in ('raw', 'main')))
				  and (y.due_at is null or y.due_at > v_now));
			continue when v_n <= rushes.brake_floor();
			if rushes.brake_decide(rule, v_place.place, v_place.id, v_n, v_entry, v_change) then
				place := v_place.place;
				wanted := v_n;
				return next;
			end if;
		end loop;
		continue when rushes.is_released(rule, 'recordings');
		select count(*) into v_n from (
			select from rushes.recording r
			where r.due_rule = sweep_brakes.rule and r.due_at <= v_now limit rushes.brake_floor() + 1) q;
		continue when v_n <= rushes.brake_floor() or rushes.brake_has_looked(rule, 'recordings');
		select l.last_value, q.last_value into v_entry, v_change from rushes.ledger_id_seq l, rushes.rules_change_id_seq q;
		select count(*) into v_n from rushes.recording r
		where r.due_rule = sweep_brakes.rule and r.due_at <= v_now and r.due_earlier_at > v_moved
		  and r.state not in ('deleting', 'deleted');
		continue when v_n <= rushes.brake_floor();
		if rushes.brake_decide(rule, 'recordings', null, v_n, v_entry, v_change) then
			place := 'recordings';
			wanted := v_n;
			return next;
		end if;
	end loop;
end $$;

-- A sweep of one service's slice: recordings that a rule of it takes whole are deleted with their copies, and copies that its
-- rules make due turn `going`, wherever they lie. Batches of recordings are locked, passing by those that somebody else
-- holds, so that several sweeps share the work; dates, pauses and holds are derived again under the locks. Returns what was
-- decided, about p_limit copies and recordings; the caller goes on until it is less.
create function rushes.sweep_decide(p_slice text, p_limit integer)
	returns table (copy uuid, recording uuid, rule text, place text)
	language plpgsql security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
#variable_conflict use_column
declare
	v_now timestamptz := rushes.rushes_now();
	v_left integer := p_limit;
	v_ids uuid[];
	v_due uuid[];
	v_copies uuid[];
	v_place record;
	-- a changed rule takes nothing of an account before all its dates are derived: else the brakes would see it in small bites
	v_changing boolean := p_slice = 'janitor' and exists (select from rushes.rules_change);
	v_waits boolean;
begin
	for rule, v_waits in
		select u.name, u.braked and v_changing from rushes.retention_rule u
		where u.slice = p_slice and u.whole and not rushes.is_paused(u.name, 'recordings') order by 1
	loop
		-- what is no longer due by the facts gets its new date and makes room for the next; the bound is against surprises
		for v_round in 1 .. 100 loop
			exit when v_left <= 0;
			v_ids := array(
				select r.id from rushes.recording r where r.due_rule = sweep_decide.rule and r.due_at <= v_now
				  and r.state not in ('deleting', 'deleted')
				  and (not v_waits or r.account not in (select q.account from rushes.rules_change q))
				order by r.due_at limit v_left for update skip locked);
			exit when cardinality(v_ids) = 0;
			-- the dates of their copies are of no use to what goes whole
			v_due := array(
				select w.recording from rushes.retention_whole(v_ids) w where w.rule = sweep_decide.rule and w.due_at <= v_now);
			if cardinality(v_due) < cardinality(v_ids) then
				perform rushes.retention_recompute(array(select i from unnest(v_ids) i except select i from unnest(v_due) i));
			end if;
			continue when cardinality(v_due) = 0;
			return query select null::uuid, i, sweep_decide.rule, 'recording'::text from unnest(v_due) i;
			v_copies := rushes.recordings_delete(v_due, rule, true);
			return query select c.id, c.recording, c.rule, rushes.copy_place(c) from rushes.copy c where c.id = any (v_copies);
			v_left := v_left - cardinality(v_due) - cardinality(v_copies);
		end loop;
	end loop;
	for rule, v_waits in
		select u.name, u.braked and v_changing from rushes.retention_rule u where u.slice = p_slice order by 1
	loop
		for v_place in select p.id, p.place from rushes.rule_places(rule) p where not rushes.is_paused(rule, p.place) loop
			for v_round in 1 .. 100 loop
				exit when v_left <= 0;
				v_ids := array(
					select r.id from rushes.copy x join rushes.recording r on r.id = x.recording
					where x.state = 'present' and x.rule = sweep_decide.rule and coalesce(x.node, x.target) = v_place.id
					  and x.due_at <= v_now
					  and (not v_waits or r.account not in (select q.account from rushes.rules_change q))
					order by x.due_at limit v_left for update of r skip locked);
				exit when cardinality(v_ids) = 0;
				v_ids := array(select distinct i from unnest(v_ids) i);
				perform rushes.retention_recompute(v_ids);
				v_copies := array(
					select x.id from unnest(v_ids) u(id)
					cross join lateral (select c.* from rushes.copy c where c.recording = u.id offset 0) x
					where x.state = 'present' and x.rule = sweep_decide.rule
					  and coalesce(x.node, x.target) = v_place.id and x.due_at <= v_now);
				perform rushes.copies_set_going(v_copies, rule, null);
				return query select c.id, c.recording, c.rule, v_place.place from rushes.copy c where c.id = any (v_copies);
				v_left := v_left - cardinality(v_copies);
			end loop;
		end loop;
	end loop;
end $$;

grant execute on function rushes.sweep_brakes(text), rushes.sweep_decide(text, integer)
	to rushes_ingest, rushes_transcoder, rushes_pusher, rushes_janitor;
