-- Retention: which rule takes which copy, and when. Nobody writes due_at by hand: retention_recompute derives it from the
-- facts, and every transaction that changes a fact of a recording calls it.

-- The table of rules. `precedence`: 1 a person's deletion, 2 a hold, 3 takes the whole recording, 4 takes single copies; an
-- unfinished job that needs a copy stands between 3 and 4. 0: takes nothing by a date.
create table rushes.retention_rule (
	name text primary key,
	slice text not null check (slice in ('ingest', 'linkgen', 'transcoder', 'storage-pusher', 'janitor')),
	precedence smallint not null check (precedence between 0 and 4),
	takes text not null,
	due text not null,
	delay text not null,
	calendar text not null,
	-- a brake never stops it: a person decided
	braked boolean not null default true,
	whole boolean not null generated always as (precedence in (1, 3)) stored,
	by_person boolean not null generated always as (precedence = 1) stored
);
insert into rushes.retention_rule (name, slice, precedence, takes, due, delay, calendar, braked) values
	('raw-copied', 'ingest', 4, 'raw on ingest',
	 'saved, copied to a transcoder with a matching hash, and `reconnect_window` (if it was never sent) and `playback_window` are over',
	 'playback_window, reconnect_window', 'none', true),
	('discarded', 'ingest', 3, 'a take that was aborted or recorded again', 'at once', 'none', 'none', true),
	('garbage', 'ingest', 3,
	 'takes with an unknown account or environment, an expired account, or a revoked or expired link: refused when the session opens, before a byte is stored',
	 'at once', 'none', 'none', true),
	('unknown', 'ingest', 0, 'spool files that never had a row', '6 hours after PostgreSQL first answered that it knows none',
	 '6 h', 'none', true),
	('recovered', 'ingest', 0, 'nothing: a broken-off take is saved with what arrived', 'when `reconnect_window` closes',
	 'reconnect_window', 'none', true),
	('failed-copy', 'transcoder', 4, 'the original of a take that could not be copied in 13 attempts',
	 '28 days at midnight, from the later of: saved to the database, moved to the processing node', '28 days',
	 'installation', true),
	('failed-conversion', 'transcoder', 4, 'the original of a take that could not be converted in 13 attempts',
	 '28 days at midnight, from the later of: saved to the database, moved to the processing node', '28 days',
	 'installation', true),
	('work-delivered', 'storage-pusher', 4, 'raw and processed files on the processing node',
	 'each file when it reached our storage (where on) and every target of the client', 'none', 'none', true),
	('failed-delivery', 'storage-pusher', 4, 'files that could not be pushed in 13 attempts',
	 '28 days at midnight, from the making of the file', '28 days', 'installation', true),
	('do-not-store', 'storage-pusher', 4, 'all files of an environment that stores nothing with us',
	 'when the main file reached every client target and each other file had its turn', 'none', 'none', true),
	('backup-after-delivery', 'storage-pusher', 4, 'our copy, where the environment says `backup: until-delivered`',
	 'when every client target confirmed', 'none', 'none', true),
	('subscription-expired', 'janitor', 3, 'everything of the account', '28 days at midnight, the expiry date is day 1', '28 days',
	 'installation', true),
	('trial-expired', 'janitor', 3, 'everything of the account', '28 days at midnight, the expiry date is day 1', '28 days',
	 'installation', true),
	('account-closed', 'janitor', 3, 'everything of the account', 'at once', 'none', 'none', false),
	('lifecycle', 'janitor', 3, 'by an environment''s rule: age, kind of recording, kind of file',
	 'daily at midnight in the account''s zone', 'age in days', 'account', true),
	('deleted-by-user', 'janitor', 1, 'the recording', 'at once', 'none', 'none', false),
	('deleted-by-api', 'janitor', 1, 'the recording', 'at once', 'none', 'none', false),
	('replaced', 'janitor', 3, 'a recovered take whose whole re-sent take has been processed', 'at once', 'none', 'none', true),
	('personal-metadata', 'janitor', 0, 'IP address, user agent, devices, referrer, file name',
	 'with the recording, or with the last copy that we hold', 'none', 'none', true),
	('link-expired', 'linkgen', 0, 'link, session, requester''s data', '30 days after expiry', '30 days', 'none', true),
	('hold', 'janitor', 2, 'nothing: wins over every rule but a person''s deletion with a reason', 'until lifted', 'none', 'none', true),
	('complete-removal', 'janitor', 0, 'the proof that each copy we hold is gone',
	 'within 5 days of the decision, or an alarm', '5 days', 'none', true);

create function rushes.copy_place(p_copy rushes.copy) returns text
	language sql stable
	as $$
	select case when p_copy.node is not null then 'node/' || p_copy.node else 'target/' || p_copy.target end
$$;

-- What a ledger entry says, before it has its number, its time and its hash.
create type rushes.ledger_entry as (
	kind text, account uuid, recording uuid, copy uuid, rule text, place text, evidence jsonb
);

-- Ledger entries, each with the RFC 6962 leaf hash over its canonical text (JSON with sorted keys, as jsonb prints it).
create function rushes.add_ledger_entries(p_entries rushes.ledger_entry[]) returns void
	language plpgsql set plan_cache_mode = force_generic_plan
	as $$
declare
	v_at timestamptz := rushes.rushes_now();
	v_at_text text := to_char(v_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
begin
	insert into rushes.ledger (id, at, kind, account, recording, copy, rule, place, evidence, hash)
	overriding system value
	select e.id, v_at, e.kind, e.account, e.recording, e.copy, e.rule, e.place, e.evidence,
	       sha256('\x00'::bytea || convert_to(jsonb_build_object(
			'id', e.id, 'at', v_at_text, 'kind', e.kind,
			'account', e.account, 'recording', e.recording, 'copy', e.copy, 'rule', e.rule, 'place', e.place,
			'evidence', e.evidence)::text, 'UTF8'))
	from (select nextval('rushes.ledger_id_seq') as id, n.kind, n.account, n.recording, n.copy, n.rule,
		     n.place, coalesce(n.evidence, '{}') as evidence
	      from unnest(p_entries) n offset 0) e;
end $$;

create function rushes.add_ledger(p_kind text, p_account uuid, p_recording uuid, p_copy uuid, p_rule text, p_place text,
				  p_evidence jsonb) returns void
	language plpgsql
	as $$
begin
	perform rushes.add_ledger_entries(array[
		row(p_kind, p_account, p_recording, p_copy, p_rule, p_place, p_evidence)::rushes.ledger_entry]);
end $$;

-- Delivery, per file and target, and the two words that people use for it.
create view rushes.delivery as
	select p.recording, r.account, p.file_kind, p.target, p.state, p.at,
	       case when p.state = 'done' then 'delivered'
		    when p.state = 'failed' then 'failed-delivery'
		    else 'pending' end as word
	from rushes.push p join rushes.recording r on r.id = p.recording;

-- The first local midnight at which something is at least so many days old.
create function rushes.lifecycle_due(p_start timestamptz, p_days integer, p_zone text) returns timestamptz
	language plpgsql stable
	as $$
begin
	-- the midnight at or after: the day of the last microsecond before the next one
	return rushes.day_begins(date_trunc('day', (p_start at time zone p_zone) + make_interval(days => p_days)
					    + interval '1 day' - interval '1 microsecond'), p_zone);
end $$;

-- What takes each copy of these recordings by itself and when, by the facts: the earliest rule of those that apply; nulls for
-- a copy that nothing takes, that a hold keeps or that an unfinished job needs. One row for each copy that is present or
-- incoming. Written so that each step is a look into an index: its cost does not depend on how many recordings there are.
create function rushes.retention_due(p_recordings uuid[]) returns table (copy uuid, due_at timestamptz, rule text)
	language sql stable
	as $$
	select c.id, d.due_at, d.rule
	from unnest(p_recordings) u(id)
	join rushes.recording r on r.id = u.id
	join rushes.environment e on e.account = r.account and e.id = r.environment
	join rushes.installation i on true
	join rushes.copy c on c.recording = r.id and c.state in ('present', 'incoming')
	left join lateral (
		select q.due_at, q.rule
		from (
			-- raw on ingest
			select greatest(r.copied_at, r.saved_at + e.playback_window,
					case when r.sent_at is null then r.last_byte_at + e.reconnect_window end), 'raw-copied'
			where c.segment is not null and r.saved_at is not null and r.copied_at is not null
			union all
			-- what could not be copied or converted
			select rushes.midnight_after_28_days(greatest(r.saved_at, r.copied_at), i.zone), r.state
			where (r.state = 'failed-copy' and r.copied_at is null and c.segment is not null)
			   or (r.state = 'failed-conversion' and c.kind is not null and c.node is not null)
			union all
			-- files on the processing node
			select case when own.unfinished then null
				    when e.do_not_store and main.is_done then greatest(own.last, main.last)
				    when own.is_done then own.last
				    -- a file that goes nowhere of its own leaves with main
				    when own.targets = 0 and main.is_done then main.last
				    when own.targets = 0 and main.unfinished then null
				    else rushes.midnight_after_28_days(case when own.targets = 0 then (
						select m.made_at from rushes.file m where m.recording = r.id and m.kind = 'main')
					else f.made_at end, i.zone) end,
			       case when e.do_not_store and main.is_done then 'do-not-store'
				    when own.is_done or (own.targets = 0 and main.is_done) then 'work-delivered'
				    else 'failed-delivery' end
			from rushes.file f
			cross join lateral (
				select count(*) as targets, bool_or(p.state = 'unfinished') as unfinished, bool_and(p.state = 'done') as is_done,
				       max(p.at) as last
				from rushes.push p where p.recording = r.id and p.file_kind = c.kind) own
			cross join lateral (
				select bool_or(p.state = 'unfinished') as unfinished, bool_and(p.state = 'done') as is_done, max(p.at) as last
				from rushes.push p where p.recording = r.id and p.file_kind = 'main') main
			where r.state in ('processed', 'closed') and c.node is not null and c.state = 'present'
			  and f.recording = r.id and f.kind = c.kind
			union all
			-- our copy, once every target of the client has the file
			select max(p.at), 'backup-after-delivery'
			from rushes.push p join rushes.target t on t.id = p.target and t.owner = 'client'
			where e.backup = 'until-delivered' and r.state in ('processed', 'closed') and c.state = 'present'
			  and p.recording = r.id and p.file_kind = c.kind
			  and exists (select from rushes.target o where o.id = c.target and o.owner = 'ours')
			having bool_and(p.state = 'done')
			union all
			-- single kinds of files, by age
			select rushes.lifecycle_due(r.saved_at, l.age_days, a.zone), 'lifecycle'
			from rushes.lifecycle_rule l join rushes.account a on a.id = l.account
			where l.account = r.account and l.environment = r.environment and l.enabled
			  and l.file_kind = coalesce(c.kind, 'raw') and coalesce(l.recording_kind, r.kind) = r.kind
			  and c.state = 'present' and r.saved_at is not null
			  and not exists (select from rushes.target o where o.id = c.target and o.owner = 'client')
		) as q(due_at, rule)
		where q.due_at is not null and not r.held
		  and not exists (
			select from rushes.job j where j.recording = r.id
			and ((j.kind = 'copy' and c.segment is not null)
			     or (j.kind = 'convert' and c.kind = 'raw' and c.node is not null)
			     or (j.kind = 'push' and c.node is not null and j.file_kind = c.kind)))
		order by q.due_at, q.rule limit 1
	) d on true
$$;

-- The earliest rule that takes each of these recordings whole by a date; nulls where none does. What is still open may finish
-- first.
create function rushes.retention_whole(p_recordings uuid[]) returns table (recording uuid, due_at timestamptz, rule text)
	language sql stable
	as $$
	select r.id, d.due_at, d.rule
	from unnest(p_recordings) u(id)
	join rushes.recording r on r.id = u.id
	join rushes.account a on a.id = r.account
	join rushes.installation i on true
	left join lateral (
		select q.due_at, q.rule
		from (
			select a.closed_at, 'account-closed'
			union all
			select rushes.midnight_after_28_days(a.trial_ends_at, i.zone), 'trial-expired' where a.plan = 'trial'
			union all
			select rushes.midnight_after_28_days(a.paid_until, i.zone), 'subscription-expired' where a.plan = 'paid'
			union all
			select n.processed_at, 'replaced'
			from rushes.recording n
			where r.recovered and n.replaces = r.id and n.account = r.account and n.session = r.session
			union all
			select rushes.lifecycle_due(r.saved_at, l.age_days, a.zone), 'lifecycle'
			from rushes.lifecycle_rule l
			where l.account = r.account and l.environment = r.environment and l.enabled and l.file_kind is null
			  and coalesce(l.recording_kind, r.kind) = r.kind
		) as q(due_at, rule)
		where r.saved_at is not null and r.state <> 'open' and not r.held and q.due_at is not null
		order by q.due_at, q.rule limit 1
	) d on true
$$;

-- The one writer of due dates. Precedence: a person's deletion > hold > rules that take the whole recording > needed by an
-- unfinished job > the earliest rule. A sweep calls it again under the recordings' locks before it decides, so that no copy
-- ever goes by dates of older facts. `due_earlier_at` is when a date last moved earlier: the brakes look at it. Without
-- sequential scans: a plan is kept for the session, and the jobs that were few when it was made may be many when it runs.
create function rushes.retention_recompute(p_recordings uuid[]) returns void
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_deleting uuid[];
	v_living uuid[];
begin
	-- what is still open may finish first: nothing of it has a date
	select array_agg(r.id) filter (where r.state = 'deleting'), array_agg(r.id) filter (where r.state <> 'deleting')
	into v_deleting, v_living
	from rushes.recording r where r.id = any (p_recordings) and r.state not in ('open', 'deleted');
	if v_deleting is not null then
		update rushes.copy c
		set due_at = d.due_at, rule = d.delete_rule, due_earlier_at = v_now
		from (
			select x.id, r.delete_rule, case when r.held and not u.by_person then null else r.deleting_at end as due_at
			from rushes.recording r
			join rushes.retention_rule u on u.name = r.delete_rule
			join rushes.copy x on x.recording = r.id
			left join rushes.target t on t.id = x.target
			where r.id = any (v_deleting)
			  and (x.state = 'incoming'
			       or (x.state = 'present' and (t.id is null or t.owner = 'ours' or t.delete_at_target)))) d
		where c.id = d.id and (c.due_at, c.rule) is distinct from (d.due_at, d.delete_rule);
	end if;
	if v_living is null then
		return;
	end if;
	update rushes.recording r
	set due_at = w.due_at, due_rule = w.rule,
	    due_earlier_at = case when w.due_at < coalesce(r.due_at, 'infinity') then v_now else r.due_earlier_at end
	from rushes.retention_whole(v_living) w
	where r.id = w.recording and (r.due_at, r.due_rule) is distinct from (w.due_at, w.rule);
	update rushes.copy c
	set due_at = d.due_at, rule = d.rule,
	    due_earlier_at = case when d.due_at < coalesce(c.due_at, 'infinity') then v_now else c.due_earlier_at end
	from rushes.retention_due(v_living) d
	where c.id = d.copy and (c.due_at, c.rule) is distinct from (d.due_at, d.rule);
end $$;

create function rushes.retention_recompute(p_recording uuid) returns void
	language plpgsql
	as $$
begin
	perform rushes.retention_recompute(array[p_recording]);
end $$;

-- What stays when a spool's copy goes by a rule of its own: where else its file lies, or what was made of its segment. Facts
-- that a restored database may not have, and can have again from the ledger.
create function rushes.kept_beside(c rushes.copy) returns jsonb
	language plpgsql stable
	as $$
begin
	return (select jsonb_build_object('kept', jsonb_agg(jsonb_build_object(
			'copy', k.id, 'kind', k.kind, 'place', rushes.copy_place(k), 'location', k.location,
			'bytes', f.bytes, 'sha256', encode(f.sha256, 'hex')) order by k.kind, k.id))
	from rushes.copy k join rushes.file f on f.recording = k.recording and f.kind = k.kind
	where k.recording = c.recording and k.state in ('present', 'released')
	  and (c.segment is not null or (k.kind = c.kind and k.target is not null))
	having count(*) > 0);
end $$;

-- Turns copies `going`, and writes down who decided. A copy at a target gets its delete job. The recordings are locked by the
-- caller. p_rule null: copies that never became present. p_due: since when they were due, where their rows don't say.
create function rushes.copies_set_going(p_copies uuid[], p_rule text, p_due timestamptz) returns void
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_is_whole boolean := (select whole from rushes.retention_rule where name = p_rule);
	v_going uuid[];
begin
	with turned as (
		update rushes.copy c set state = 'going', going_at = v_now, rule = p_rule, due_at = coalesce(p_due, c.due_at)
		where c.id = any (p_copies) and c.state in ('incoming', 'present', 'lost', 'released')
		returning c.id
	)
	select array_agg(t.id) into v_going from turned t;
	if v_going is null then
		return;
	end if;
	perform rushes.add_ledger_entries(array_agg(
		row('decided', c.account, c.recording, c.id, p_rule, rushes.copy_place(c), jsonb_build_object('due_at', c.due_at)
			|| case when c.target is not null then jsonb_build_object('location', c.location)
				when v_is_whole then '{}'
				else coalesce(rushes.kept_beside(c), '{}') end)::rushes.ledger_entry))
	from rushes.copy c where c.id = any (v_going);
	insert into rushes.job (kind, account, region, recording, file_kind, target, copy, trace)
	select 'delete', c.account, c.region, c.recording, c.kind, c.target, c.id, r.trace
	from rushes.copy c join rushes.recording r on r.id = c.recording
	where c.id = any (v_going) and c.target is not null;
end $$;

create function rushes.copy_set_going(p_copy uuid, p_rule text) returns void
	language plpgsql
	as $$
begin
	perform rushes.copies_set_going(array[p_copy], p_rule, null);
end $$;

-- Whether a rule is paused on a place, by a brake or a person; every rule is while the clock is not trusted.
create function rushes.is_paused(p_rule text, p_place text) returns boolean
	language plpgsql stable
	as $$
begin
	return exists (select from rushes.retention_pause p
		       where p.confirmed_at is null and p.rule in (p_rule, '*') and p.place in (p_place, '*', 'clock'));
end $$;

-- Where a rule is paused, as is_paused reads it.
create function rushes.paused_places(p_rule text) returns text[]
	language sql stable
	as $$ select array(select p.place from rushes.retention_pause p where p.confirmed_at is null and p.rule in (p_rule, '*')) $$;

-- What the owner of a spool has to remove.
create function rushes.copies_going(p_node uuid, p_limit integer)
	returns table (copy uuid, recording uuid, location text, temporary text, rule text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select c.id, c.recording, c.location, c.temporary, c.rule from rushes.copy c
	where c.node = p_node and c.state = 'going' order by c.going_at limit p_limit
$$;

-- What is left of recordings that are completely removed: id and times.
create function rushes.recordings_tombstone(p_recordings uuid[]) returns void
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
begin
	delete from rushes.copy where recording = any (p_recordings);
	delete from rushes.push where recording = any (p_recordings);
	delete from rushes.file where recording = any (p_recordings);
	delete from rushes.segment where recording = any (p_recordings);
	perform rushes.lock_for_state(p_recordings, 'deleted');
	update rushes.recording
	set state = 'deleted', mime = null, bytes = null, sha256 = null, expected_sha256 = null, link = null, session = null, trace = null,
	    replaces = null, personal_due_at = null, deleted_at = rushes.rushes_now()
	where id = any (p_recordings);
end $$;

-- Ends the deletions of which nothing that we hold is left: tombstone and ledger; the event follows when the entry is sealed.
-- The recordings are locked by the caller.
create function rushes.recordings_try_complete(p_recordings uuid[]) returns void
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	-- one by one: else PostgreSQL might go through all that are being deleted
	v_ids uuid[] := array(
		select r.id from unnest(p_recordings) u(id)
		cross join lateral (select x.id, x.state from rushes.recording x where x.id = u.id offset 0) r
		where r.state = 'deleting'
		  and not exists (select from rushes.copy c where c.recording = r.id and c.state <> 'released')
		  and not exists (select from rushes.recording_personal p where p.recording = r.id));
begin
	if cardinality(v_ids) = 0 then
		return;
	end if;
	perform rushes.add_ledger_entries(array_agg(
		row('complete', r.account, r.id, null, r.delete_rule, null, jsonb_build_object('decided_at', r.deleting_at,
			'left_with_the_client', (select count(*) from rushes.copy c where c.recording = r.id)))::rushes.ledger_entry))
	from rushes.recording r where r.id = any (v_ids);
	perform rushes.recordings_tombstone(v_ids);
end $$;

-- The owner confirms that a copy is gone, with its evidence ({"unlinked": true}, {"versions": 2, ...}). Only for copies that
-- are going, or incoming ones that the owner found abandoned. p_place: node/<id> or target/<id>, the confirming owner's.
create function rushes.copy_gone(p_copy uuid, p_place text, p_evidence jsonb) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	c rushes.copy;
	r rushes.recording;
begin
	select * into c from rushes.copy where id = p_copy;
	if not found then
		if exists (select from rushes.ledger l where l.copy = p_copy and l.kind = 'gone') then
			return;
		end if;
		perform rushes.refuse('RU002', format('copy %s does not exist', p_copy));
	end if;
	select * into r from rushes.recording where id = c.recording for update;
	select * into c from rushes.copy where id = p_copy for update;
	if not found then
		return;
	end if;
	if c.state not in ('going', 'incoming') or rushes.copy_place(c) <> p_place then
		perform rushes.refuse('RU001', format('copy %s is %s on %s and not to be removed by %s', p_copy, c.state,
			rushes.copy_place(c), p_place));
	end if;
	delete from rushes.copy where id = p_copy;
	perform rushes.add_ledger('gone', c.account, c.recording, c.id, c.rule, p_place, p_evidence);
	if c.target is not null then
		perform rushes.second_look_add(c, p_evidence);
	end if;
	if r.state <> 'open' and not exists (
		select from rushes.copy x where x.recording = c.recording and x.node is not null) then
		-- no sealed copy is left that the key could open
		delete from rushes.recording_key where recording = c.recording;
	end if;
	if r.state not in ('open', 'deleting') and not exists (
		select from rushes.copy x where x.recording = c.recording and x.state <> 'released') then
		update rushes.recording set personal_due_at = rushes.rushes_now() where id = c.recording;
	end if;
	perform rushes.recordings_try_complete(array[c.recording]);
end $$;

-- A copy whose file is not where its row says: an alarm, never a silent disappearance.
create function rushes.copy_lost(p_copy uuid, p_node uuid) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	c rushes.copy;
begin
	select * into c from rushes.copy where id = p_copy and node = p_node;
	if not found then
		return;
	end if;
	perform from rushes.recording where id = c.recording for update;
	update rushes.copy set state = 'lost' where id = p_copy and state = 'present';
	if found then
		perform rushes.add_event('copy.lost', c.account, c.recording);
	end if;
end $$;

-- Decides the deletion of whole recordings by one rule: state, keys, jobs, links and copies in one transaction. The keys'
-- destruction makes what lies in spools unreadable at once. The recordings are locked by the caller, and none is being
-- deleted. p_going: what we hold turns `going` at once where the rule is not paused, as the janitor's sweep does it; else the
-- copies are due, and the sweep takes them. Returns the copies that turned going.
create function rushes.recordings_delete(p_recordings uuid[], p_rule text, p_going boolean) returns uuid[]
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_job rushes.job;
	v_keys uuid[];
	v_copies uuid[];
	v_paused text[] := rushes.paused_places(p_rule);
begin
	for v_job in select * from rushes.job where recording = any (p_recordings) and kind <> 'delete' order by id for update loop
		perform rushes.finish_job(v_job, 'cancelled', case when v_job.state = 'running' then 'cancelled' end, null, null);
	end loop;
	perform rushes.lock_for_state(p_recordings, 'deleting');
	-- all of it by one statement: each further one on a row pays its indexes and foreign keys again
	update rushes.recording
	set state = 'deleting', deleting_at = v_now, delete_rule = p_rule, personal_due_at = v_now, due_at = null, due_rule = null
	where id = any (p_recordings);
	with destroyed as (
		delete from rushes.recording_key where recording = any (p_recordings) returning recording
	)
	select array_agg(recording) into v_keys from destroyed;
	perform rushes.add_ledger_entries(array_agg(
		row('decided', r.account, r.id, null, p_rule, null, jsonb_build_object(
			'key', case when r.id = any (v_keys) then 'destroyed' else 'none' end))::rushes.ledger_entry))
	from rushes.recording r where r.id = any (p_recordings);
	insert into rushes.event (day, type, account, recording)
	select (v_now at time zone 'UTC')::date, 'recording.deleting', r.account, r.id
	from rushes.recording r where r.id = any (p_recordings);
	-- copies that never became present, or whose file is missing, have no due date to wait for; the client's own go where
	-- the target says so
	v_copies := array(
		select c.id from rushes.copy c left join rushes.target t on t.id = c.target
		where c.recording = any (p_recordings)
		  and (c.state in ('incoming', 'lost') or (c.state = 'released' and t.delete_at_target)
		       or (c.state = 'present' and p_going and (t.id is null or t.owner = 'ours' or t.delete_at_target)
			   and not v_paused && array['*', 'clock', rushes.copy_place(c)])));
	perform rushes.copies_set_going(v_copies, p_rule, v_now);
	perform rushes.retention_recompute(p_recordings);
	perform rushes.recordings_try_complete(p_recordings);
	return v_copies;
end $$;

-- Decides the deletion of one recording. p_rule: a rule that takes the whole recording.
create function rushes.recording_delete(p_recording uuid, p_rule text, p_actor text, p_reason text) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
begin
	if not exists (select from rushes.retention_rule where name = p_rule and whole) then
		perform rushes.refuse('RU005', format('%s is no rule that takes a whole recording', p_rule));
	end if;
	select * into r from rushes.recording where id = p_recording for update;
	if not found then
		perform rushes.refuse('RU002', format('recording %s does not exist', p_recording));
	end if;
	if r.state in ('deleting', 'deleted') then
		return r.state;
	end if;
	if r.held and not (select by_person and coalesce(p_reason, '') <> '' from rushes.retention_rule where name = p_rule) then
		perform rushes.refuse('RU003', format('recording %s is held', p_recording));
	end if;
	perform rushes.recordings_delete(array[p_recording], p_rule, false);
	if p_actor is not null then
		perform rushes.add_audit(p_actor, 'recording.delete', r.account, p_recording::text,
			jsonb_build_object('rule', p_rule, 'reason', p_reason));
	end if;
	return 'deleting';
end $$;

-- The janitor's sweep of personal metadata. Returns how many recordings it was removed from.
create function rushes.personal_sweep(p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan
	as $$
declare
	v_ids uuid[];
	v_entries rushes.ledger_entry[];
begin
	if rushes.is_paused('personal-metadata', 'database') then
		return 0;
	end if;
	v_ids := array(
		select r.id from rushes.recording r where r.personal_due_at <= rushes.rushes_now()
		order by r.personal_due_at limit p_limit for update skip locked);
	with gone as (
		delete from rushes.recording_personal where recording = any (v_ids) returning account, recording
	)
	select array_agg(row('gone', account, recording, null, 'personal-metadata', 'database', '{"rows": 1}')::rushes.ledger_entry)
	into v_entries from gone;
	update rushes.recording set personal_due_at = null where id = any (v_ids);
	if v_entries is not null then
		perform rushes.add_ledger_entries(v_entries);
	end if;
	perform rushes.recordings_try_complete(v_ids);
	return coalesce(cardinality(v_entries), 0);
end $$;

-- Deletions that are not complete after p_age: for the alarm. One row per copy that is left, or one without a copy.
create function rushes.deletion_overdue(p_age interval)
	returns table (recording uuid, copy uuid, place text, reason text, deleting_at timestamptz)
	language sql stable security definer
	set search_path = rushes, pg_temp set enable_seqscan = off set jit = off
	as $$
	select r.id, c.id, rushes.copy_place(c),
	       coalesce((select j.last_error from rushes.job j where j.copy = c.id limit 1),
			case when c.state = 'lost' then 'the copy is lost' when c.id is null then 'personal metadata is left'
			     else 'the owner has not confirmed' end),
	       r.deleting_at
	from rushes.recording r left join rushes.copy c on c.recording = r.id and c.state <> 'released'
	where r.state = 'deleting' and r.deleting_at < rushes.rushes_now() - p_age
$$;
