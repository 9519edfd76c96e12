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

-- One ledger entry, with the RFC 6962 leaf hash over its canonical text (JSON with sorted keys, as jsonb prints it).
create function rushes.add_ledger(p_kind text, p_account uuid, p_recording uuid, p_copy uuid, p_rule text, p_place text,
				  p_evidence jsonb) returns bigint
	language plpgsql
	as $$
declare
	v_id bigint := nextval(pg_get_serial_sequence('rushes.ledger', 'id'));
	v_at timestamptz := rushes.rushes_now();
	v_evidence jsonb := coalesce(p_evidence, '{}');
begin
	insert into rushes.ledger (id, at, kind, account, recording, copy, rule, place, evidence, hash)
	overriding system value
	values (v_id, v_at, p_kind, p_account, p_recording, p_copy, p_rule, p_place, v_evidence,
		sha256('\x00'::bytea || convert_to(jsonb_build_object(
			'id', v_id, 'at', to_char(v_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'kind', p_kind,
			'account', p_account, 'recording', p_recording, 'copy', p_copy, 'rule', p_rule, 'place', p_place,
			'evidence', v_evidence)::text, 'UTF8')));
	return v_id;
end $$;

-- Every push of a file: living and finished. The latest word per target stands.
create function rushes.push_facts(p_recording uuid, p_since timestamptz)
	returns table (file_kind text, target uuid, state text, at timestamptz)
	language sql stable
	as $$
	select distinct on (file_kind, target) file_kind, target, state, at
	from (
		select j.file_kind, j.target, 'unfinished'::text as state, 'infinity'::timestamptz as at
		from rushes.job j where j.recording = p_recording and j.kind = 'push'
		union all
		select d.file_kind, d.target, d.state, d.finished_at
		from rushes.job_done d
		where d.recording = p_recording and d.kind = 'push' and d.day >= (p_since at time zone 'UTC')::date
	) pushes
	order by file_kind, target, at desc, (state = 'done') desc
$$;

-- Delivery, per file and target, and the two words that people use for it.
create view rushes.delivery as
	select r.id as recording, r.account, p.file_kind, p.target, p.state, p.at,
	       case when p.state = 'done' then 'delivered'
		    when p.state = 'failed' then 'failed-delivery'
		    else 'pending' end as word
	from rushes.recording r cross join lateral rushes.push_facts(r.id, r.opened_at) p;

-- What takes each copy of a recording and when, by the facts: the earliest rule of those that apply. Copies that nothing
-- takes are not returned. Precedence is applied by retention_recompute.
create function rushes.retention_due(p_recording uuid) returns table (copy uuid, due_at timestamptz, rule text)
	language plpgsql stable
	as $$
#variable_conflict use_column
declare
	r rushes.recording;
	e rushes.environment;
	v_main_delivered timestamptz;
	v_main_pending boolean;
	v_main_unfinished boolean;
	v_main_made timestamptz;
begin
	select * into r from rushes.recording where id = p_recording;
	select * into e from rushes.environment where account = r.account and id = r.environment;

	-- raw on ingest
	if r.saved_at is not null and r.copied_at is not null then
		return query
		select c.id, greatest(r.copied_at, r.saved_at + e.playback_window,
				      case when r.sent_at is null then r.last_byte_at + e.reconnect_window end), 'raw-copied'::text
		from rushes.copy c where c.recording = r.id and c.segment is not null and c.node is not null;
	elsif r.state = 'failed-copy' then
		return query
		select c.id, rushes.midnight_after_28_days(greatest(r.saved_at, r.copied_at)), 'failed-copy'::text
		from rushes.copy c where c.recording = r.id and c.segment is not null and c.node is not null;
	end if;

	-- files on the processing node
	if r.state = 'failed-conversion' then
		return query
		select c.id, rushes.midnight_after_28_days(greatest(r.saved_at, r.copied_at)), 'failed-conversion'::text
		from rushes.copy c where c.recording = r.id and c.kind is not null and c.node is not null;
	elsif r.state in ('processed', 'closed') then
		select max(p.at) filter (where p.state = 'done'), bool_or(p.state <> 'done'), bool_or(p.state = 'unfinished')
		into v_main_delivered, v_main_pending, v_main_unfinished
		from rushes.push_facts(r.id, r.opened_at) p where p.file_kind = 'main';
		select f.made_at into v_main_made from rushes.file f where f.recording = r.id and f.kind = 'main';
		return query
		with fate as (
			select c.id, f.made_at,
			       count(p.target) as targets,
			       bool_or(p.state = 'unfinished') as unfinished,
			       bool_or(p.state in ('failed', 'cancelled')) as failed,
			       max(p.at) as last
			from rushes.copy c
			join rushes.file f on f.recording = c.recording and f.kind = c.kind
			left join rushes.push_facts(r.id, r.opened_at) p on p.file_kind = c.kind
			where c.recording = r.id and c.node is not null and c.state in ('present', 'going')
			group by c.id, f.made_at
		)
		select t.id,
		       case when t.unfinished then null
			    when e.do_not_store and not v_main_pending and v_main_delivered is not null
				then greatest(t.last, v_main_delivered)
			    when t.targets > 0 and not t.failed then t.last
			    -- a file that goes nowhere of its own leaves with main
			    when t.targets = 0 and not v_main_pending and v_main_delivered is not null then v_main_delivered
			    when t.targets = 0 and v_main_unfinished then null
			    else rushes.midnight_after_28_days(case when t.targets = 0 then v_main_made else t.made_at end) end,
		       case when e.do_not_store and not v_main_pending and v_main_delivered is not null then 'do-not-store'
			    when (t.targets > 0 and not t.failed)
			      or (t.targets = 0 and not v_main_pending and v_main_delivered is not null) then 'work-delivered'
			    else 'failed-delivery' end
		from fate t;
	end if;

	-- our copy, once every target of the client has the file
	if e.backup = 'until-delivered' and r.state in ('processed', 'closed') then
		return query
		select c.id, max(p.at), 'backup-after-delivery'::text
		from rushes.copy c
		join rushes.target o on o.id = c.target and o.owner = 'ours'
		join rushes.push_facts(r.id, r.opened_at) p on p.file_kind = c.kind
		join rushes.target t on t.id = p.target and t.owner = 'client'
		where c.recording = r.id and c.state = 'present'
		group by c.id having bool_and(p.state = 'done');
	end if;

	-- single kinds of files, by age
	return query
	select c.id, min(rushes.lifecycle_due(r.saved_at, l.age_days, a.zone)), 'lifecycle'::text
	from rushes.copy c
	left join rushes.target t on t.id = c.target
	join rushes.lifecycle_rule l on l.account = r.account and l.environment = r.environment and l.enabled
		and l.file_kind = coalesce(c.kind, 'raw') and coalesce(l.recording_kind, r.kind) = r.kind
	join rushes.account a on a.id = r.account
	where c.recording = r.id and c.state = 'present' and r.saved_at is not null and coalesce(t.owner, 'ours') = 'ours'
	group by c.id;
end $$;

-- The first local midnight at which something is at least so many days old.
create function rushes.lifecycle_due(p_start timestamptz, p_days integer, p_zone text) returns timestamptz
	language sql stable
	as $$
	select (case when date_trunc('day', l.at) = l.at then l.at else date_trunc('day', l.at) + interval '1 day' end)
		at time zone p_zone
	from (select (p_start at time zone p_zone) + make_interval(days => p_days) as at) l
$$;

-- The earliest rule that takes a whole recording by a date, or no row. What is still open may finish first.
create function rushes.retention_whole(r rushes.recording) returns table (due_at timestamptz, rule text)
	language sql stable
	as $$
	select q.due_at, q.rule
	from rushes.account a
	cross join lateral (
		select a.closed_at, 'account-closed'
		union all
		select rushes.midnight_after_28_days(a.trial_ends_at), 'trial-expired' where a.plan = 'trial'
		union all
		select rushes.midnight_after_28_days(a.paid_until), 'subscription-expired' where a.plan = 'paid'
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
	where a.id = r.account and r.saved_at is not null and q.due_at is not null
	order by q.due_at, q.rule limit 1
$$;

-- The one writer of due dates. Precedence: a person's deletion > hold > rules that take the whole recording > needed by an
-- unfinished job > the earliest rule. A sweep calls it again under the recording's lock before it decides, so that no copy
-- ever goes by dates of older facts. `due_earlier_at` is when a date last moved earlier: the brakes look at it.
create function rushes.retention_recompute(p_recording uuid) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
	v_by_person boolean;
	v_due timestamptz;
	v_rule text;
begin
	select * into r from rushes.recording where id = p_recording;
	if not found or r.state = 'deleted' then
		return;
	end if;
	if r.state = 'deleting' then
		select by_person into v_by_person from rushes.retention_rule where name = r.delete_rule;
		v_due := case when r.held and not v_by_person then null else r.deleting_at end;
		update rushes.copy c
		set due_at = v_due, rule = r.delete_rule, due_earlier_at = rushes.rushes_now()
		from (select x.id, coalesce(t.owner, 'ours') as owner, coalesce(t.delete_at_target, true) as delete_at_target
		      from rushes.copy x left join rushes.target t on t.id = x.target where x.recording = p_recording) o
		where c.id = o.id and c.state in ('incoming', 'present')
		  and (o.owner = 'ours' or o.delete_at_target or c.state = 'incoming')
		  and (c.due_at, c.rule) is distinct from (v_due, r.delete_rule);
		return;
	end if;
	if not r.held and r.state <> 'open' then
		select w.due_at, w.rule into v_due, v_rule from rushes.retention_whole(r) w;
	end if;
	if (r.due_at, r.due_rule) is distinct from (v_due, v_rule) then
		update rushes.recording
		set due_at = v_due, due_rule = v_rule,
		    due_earlier_at = case when v_due < coalesce(r.due_at, 'infinity') then rushes.rushes_now() else due_earlier_at end
		where id = p_recording;
	end if;
	update rushes.copy c
	set due_at = d.due_at, rule = d.rule,
	    due_earlier_at = case when d.due_at < coalesce(c.due_at, 'infinity') then rushes.rushes_now() else c.due_earlier_at end
	from (
		select x.id, m.due_at, m.rule
		from rushes.copy x
		left join lateral (
			select q.due_at, q.rule from rushes.retention_due(p_recording) q
			where q.copy = x.id and q.due_at is not null and not r.held
			  and not exists (
				select from rushes.job j where j.recording = p_recording
				and ((j.kind = 'copy' and x.segment is not null)
				     or (j.kind = 'convert' and x.kind = 'raw' and x.node is not null)
				     or (j.kind = 'push' and x.node is not null and j.file_kind = x.kind)))
			order by q.due_at, q.rule limit 1) m on true
		where x.recording = p_recording and x.state in ('present', 'incoming')
	) d
	where c.id = d.id and (c.due_at, c.rule) is distinct from (d.due_at, d.rule);
end $$;

-- Turns one copy `going`, and writes down who decided. A copy at a target gets its delete job. The recording is locked by
-- the caller. p_rule null: a copy that never became present.
create function rushes.copy_set_going(p_copy uuid, p_rule text) returns void
	language plpgsql
	as $$
declare
	c rushes.copy;
begin
	update rushes.copy set state = 'going', going_at = rushes.rushes_now(), rule = p_rule
	where id = p_copy and state in ('incoming', 'present', 'lost', 'released')
	returning * into c;
	if not found then
		return;
	end if;
	perform rushes.add_ledger('decided', c.account, c.recording, c.id, p_rule, rushes.copy_place(c),
		jsonb_build_object('due_at', c.due_at)
		|| case when c.target is null then '{}' else jsonb_build_object('location', c.location) end);
	if c.target is not null then
		insert into rushes.job (kind, account, region, recording, file_kind, target, copy, trace)
		select 'delete', c.account, c.region, c.recording, c.kind, c.target, c.id, r.trace
		from rushes.recording r where r.id = c.recording;
	end if;
end $$;

-- Whether a rule is paused on a place, by a brake or a person; every rule is while the clock is not trusted.
create function rushes.is_paused(p_rule text, p_place text) returns boolean
	language sql stable
	as $$
	select exists (select from rushes.retention_pause p
		       where p.confirmed_at is null and p.rule in (p_rule, '*') and p.place in (p_place, '*', 'clock'))
$$;

-- Whether the brakes need not look at a rule on a place: it is paused already, or a person confirmed it within a day.
create function rushes.is_released(p_rule text, p_place text) returns boolean
	language sql stable
	as $$
	select exists (select from rushes.retention_pause p
		       where p.rule in (p_rule, '*') and p.place in (p_place, '*')
			 and (p.confirmed_at is null or p.confirmed_at > rushes.rushes_now() - interval '24 h'))
$$;

-- The brakes, looked at once before a sweep: a rule that wants more than max(1000, 5 %) of a place in copies of which no
-- other proven copy remains, and whose dates moved earlier within a day, is paused there until a person confirms. The same
-- for whole recordings. Cost follows what is due. Returns what was paused now.
create function rushes.sweep_brakes(p_slice text) returns table (rule text, place text, wanted bigint)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	v_now timestamptz := rushes.rushes_now();
	v_want record;
	v_all bigint;
begin
	for v_want in
		select x.rule, rushes.copy_place(x) as place, count(*) as n, min(x.node::text) as node, min(x.target::text) as target
		from rushes.copy x
		join rushes.retention_rule u on u.name = x.rule
		join rushes.recording g on g.id = x.recording and g.state <> 'deleting'
		where x.state = 'present' and x.due_at <= v_now and x.due_earlier_at > v_now - interval '24 h'
		  and u.slice = p_slice and u.braked and not rushes.is_released(x.rule, rushes.copy_place(x))
		  and not exists (
			select from rushes.copy y
			where y.recording = x.recording and y.id <> x.id and y.state in ('present', 'released')
			  and (y.kind = x.kind or (x.segment is not null and y.kind in ('raw', 'main')))
			  and (y.due_at is null or y.due_at > v_now))
		group by 1, 2 having count(*) > 1000
		union all
		select r.due_rule, 'recordings', count(*), null, null
		from rushes.recording r join rushes.retention_rule u on u.name = r.due_rule
		where r.due_at <= v_now and r.due_earlier_at > v_now - interval '24 h' and u.slice = p_slice and u.braked
		  and r.state not in ('deleting', 'deleted') and not rushes.is_released(r.due_rule, 'recordings')
		group by 1 having count(*) > 1000
	loop
		if v_want.place = 'recordings' then
			select count(*) into v_all from rushes.recording where state not in ('deleting', 'deleted');
		else
			select count(*) into v_all from rushes.copy
			where state = 'present' and (node = v_want.node::uuid or target = v_want.target::uuid);
		end if;
		continue when v_want.n <= v_all * 0.05;
		insert into rushes.retention_pause as p (rule, place, by, reason)
		values (v_want.rule, v_want.place, 'brake',
			format('it wants %s of %s at once, by dates that moved earlier within a day', v_want.n, v_all))
		on conflict on constraint retention_pause_pkey do update
		set since = v_now, by = excluded.by, reason = excluded.reason, confirmed_at = null
		where p.confirmed_at is not null;
		if found then
			perform rushes.add_audit('brake', 'retention.pause', null, v_want.rule || ' ' || v_want.place,
				jsonb_build_object('wanted', v_want.n, 'of', v_all));
			rule := v_want.rule;
			place := v_want.place;
			wanted := v_want.n;
			return next;
		end if;
	end loop;
end $$;

-- A sweep of one service's slice: copies that its rules make due turn `going`, wherever they lie, and recordings that a rule
-- of it takes whole are deleted. Tests date, pause and hold again under the recording's lock. Returns what was decided.
create function rushes.sweep_decide(p_slice text, p_limit integer)
	returns table (copy uuid, recording uuid, rule text, place text)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	v_rules text[] := array(select name from rushes.retention_rule where slice = p_slice);
	v_now timestamptz := rushes.rushes_now();
	v_candidate record;
	c rushes.copy;
	r rushes.recording;
begin
	for v_candidate in
		select x.id, x.recording from rushes.copy x
		where x.state = 'present' and x.rule = any (v_rules) and x.due_at <= v_now
		  and not rushes.is_paused(x.rule, rushes.copy_place(x))
		order by x.due_at limit p_limit
	loop
		perform from rushes.recording where id = v_candidate.recording for update skip locked;
		continue when not found;
		perform rushes.retention_recompute(v_candidate.recording);
		select * into c from rushes.copy x
		where x.id = v_candidate.id and x.state = 'present' and x.rule = any (v_rules) and x.due_at <= v_now;
		continue when not found;
		perform rushes.copy_set_going(c.id, c.rule);
		copy := c.id;
		recording := c.recording;
		rule := c.rule;
		place := rushes.copy_place(c);
		return next;
	end loop;
	for v_candidate in
		select x.id from rushes.recording x
		where x.due_at <= v_now and x.due_rule = any (v_rules) and not rushes.is_paused(x.due_rule, 'recordings')
		order by x.due_at limit p_limit
	loop
		perform from rushes.recording where id = v_candidate.id for update skip locked;
		continue when not found;
		perform rushes.retention_recompute(v_candidate.id);
		select * into r from rushes.recording where id = v_candidate.id;
		continue when r.state in ('deleting', 'deleted') or r.due_at is null or r.due_at > v_now or r.due_rule <> all (v_rules);
		perform rushes.recording_delete(r.id, r.due_rule, null, null);
		copy := null;
		recording := r.id;
		rule := r.due_rule;
		place := 'recording';
		return next;
	end loop;
end $$;

-- What the owner of a spool has to remove.
create function rushes.copies_going(p_node uuid, p_limit integer)
	returns table (copy uuid, recording uuid, location text, temporary text, rule text)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select c.id, c.recording, c.location, c.temporary, c.rule from rushes.copy c
	where c.node = p_node and c.state = 'going' order by c.going_at limit p_limit
$$;

-- What is left of a recording that is completely removed: id and times. Returns how many delivered copies stay with the client.
create function rushes.recording_tombstone(p_recording uuid) returns integer
	language plpgsql
	as $$
declare
	v_released integer;
begin
	delete from rushes.copy where recording = p_recording;
	get diagnostics v_released = row_count;
	delete from rushes.file where recording = p_recording;
	delete from rushes.segment where recording = p_recording;
	update rushes.recording
	set mime = null, bytes = null, sha256 = null, expected_sha256 = null, link = null, session = null, trace = null,
	    replaces = null, personal_due_at = null, deleted_at = rushes.rushes_now()
	where id = p_recording;
	perform rushes.set_recording_state(p_recording, 'deleted');
	return v_released;
end $$;

-- Ends a deletion when nothing that we hold is left: tombstone and ledger; the event follows when the entry is sealed. The
-- recording is locked by the caller.
create function rushes.recording_try_complete(p_recording uuid) returns void
	language plpgsql
	as $$
declare
	r rushes.recording;
	v_released integer;
begin
	select * into r from rushes.recording where id = p_recording;
	if r.state <> 'deleting'
	   or exists (select from rushes.copy c where c.recording = p_recording and c.state <> 'released')
	   or exists (select from rushes.recording_personal p where p.recording = p_recording) then
		return;
	end if;
	v_released := rushes.recording_tombstone(p_recording);
	perform rushes.add_ledger('complete', r.account, p_recording, null, r.delete_rule, null,
		jsonb_build_object('decided_at', r.deleting_at, 'left_with_the_client', v_released));
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
	perform rushes.retention_recompute(c.recording);
	perform rushes.recording_try_complete(c.recording);
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

-- Decides the deletion of a whole recording: state, key, jobs, links and copies in one transaction. The key's destruction
-- makes what lies in spools unreadable at once. p_rule: a rule that takes the whole recording.
create function rushes.recording_delete(p_recording uuid, p_rule text, p_actor text, p_reason text) returns text
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	r rushes.recording;
	v_job rushes.job;
	v_keys integer;
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
	for v_job in select * from rushes.job where recording = p_recording and kind <> 'delete' for update loop
		perform rushes.finish_job(v_job, 'cancelled', case when v_job.state = 'running' then 'cancelled' end, null, null);
	end loop;
	perform rushes.set_recording_state(p_recording, 'deleting');
	update rushes.recording
	set deleting_at = rushes.rushes_now(), delete_rule = p_rule, personal_due_at = rushes.rushes_now(), due_at = null, due_rule = null
	where id = p_recording;
	delete from rushes.recording_key where recording = p_recording;
	get diagnostics v_keys = row_count;
	perform rushes.add_ledger('decided', r.account, p_recording, null, p_rule, null,
		jsonb_build_object('key', case when v_keys > 0 then 'destroyed' else 'none' end));
	perform rushes.retention_recompute(p_recording);
	perform rushes.add_event('recording.deleting', r.account, p_recording);
	if p_actor is not null then
		perform rushes.add_audit(p_actor, 'recording.delete', r.account, p_recording::text,
			jsonb_build_object('rule', p_rule, 'reason', p_reason));
	end if;
	-- copies that never became present, or whose file is missing, have no due date to wait for; the client's own go where
	-- the target says so
	perform rushes.copy_set_going(c.id, p_rule)
	from rushes.copy c left join rushes.target t on t.id = c.target
	where c.recording = p_recording
	  and (c.state in ('incoming', 'lost') or (c.state = 'released' and t.delete_at_target));
	perform rushes.recording_try_complete(p_recording);
	return 'deleting';
end $$;

-- The janitor's sweep of personal metadata. Returns how many recordings it was removed from.
create function rushes.personal_sweep(p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_id uuid;
	v_account uuid;
	v_had integer;
	v_count integer := 0;
begin
	if rushes.is_paused('personal-metadata', 'database') then
		return 0;
	end if;
	for v_id in select id from rushes.recording where personal_due_at <= rushes.rushes_now()
		    order by personal_due_at limit p_limit
	loop
		select account into v_account from rushes.recording
		where id = v_id and personal_due_at <= rushes.rushes_now() for update skip locked;
		continue when not found;
		delete from rushes.recording_personal where recording = v_id;
		get diagnostics v_had = row_count;
		update rushes.recording set personal_due_at = null where id = v_id;
		if v_had > 0 then
			perform rushes.add_ledger('gone', v_account, v_id, null, 'personal-metadata', 'database', '{"rows": 1}');
			v_count := v_count + 1;
		end if;
		perform rushes.recording_try_complete(v_id);
	end loop;
	return v_count;
end $$;

-- Deletions that are not complete after p_age: for the alarm. One row per copy that is left, or one without a copy.
create function rushes.deletion_overdue(p_age interval)
	returns table (recording uuid, copy uuid, place text, reason text, deleting_at timestamptz)
	language sql stable security definer
	set search_path = rushes, pg_temp
	as $$
	select r.id, c.id, rushes.copy_place(c),
	       coalesce((select j.last_error from rushes.job j where j.copy = c.id limit 1),
			case when c.state = 'lost' then 'the copy is lost' when c.id is null then 'personal metadata is left'
			     else 'the owner has not confirmed' end),
	       r.deleting_at
	from rushes.recording r left join rushes.copy c on c.recording = r.id and c.state <> 'released'
	where r.state = 'deleting' and r.deleting_at < rushes.rushes_now() - p_age
$$;

-- What PostgreSQL knows of a file on a spool, by the copy that its header names: `known`, `gone` (by the ledger, or its
-- recording is deleted), `lost-row` (neither tables nor ledger know a copy that a sealed header names).
create function rushes.file_fate(p_node uuid, p_copy uuid, p_recording uuid) returns text
	language sql stable
	as $$
	select case
		when exists (select from rushes.copy c where c.id = p_copy and c.node = p_node) then 'known'
		when exists (select from rushes.ledger l where l.copy = p_copy and l.kind = 'gone') then 'gone'
		when exists (select from rushes.recording r where r.id = p_recording and r.state = 'deleted') then 'gone'
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

create function rushes.unknown_file_gone(p_node uuid, p_name text) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$ delete from rushes.unknown_file where node = p_node and name = p_name $$;

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
