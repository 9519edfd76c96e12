// A disaster in the middle of the years: PostgreSQL is put back to an hour or a day ago, and is brought into agreement with the
// ledger that stood outside, by the functions that `rushesctl restore reconcile` calls. What the database knows then is what
// the model goes on from; but nothing that was deleted may be back, nothing that stands may be gone, and holds stand as they
// stood last.
import { INGEST, TRANSCODER } from "../lib/steps.mjs";
import { HOUR, MINUTE } from "./calendar.mjs";
import { due } from "./model.mjs";

/** As far as a restore reaches back. With the longest short outage it must leave time to end a deletion in its five days. */
const REACH = 30 * HOUR;
/** Entries of the ledger in a batch. */
const BATCH = 5000;
const NODES = [
	["node/ingest", "ingest", INGEST],
	["node/transcoder", "transcoder", TRANSCODER],
];

/** Part of the database's helpers. */
export const RESTORE_HELPERS = `
-- What is not sealed becomes the next batches, with heads that nobody signed: SQL looks at the links only.
create function simulation.seal() returns bigint language plpgsql as $$
declare
	v_last bigint := (select coalesce(max(id), 0) from rushes.ledger_batch);
	v_ids bigint[];
begin
	loop
		v_ids := array(select id from rushes.ledger_unsealed(${BATCH}));
		exit when cardinality(v_ids) = 0;
		v_last := v_last + 1;
		perform rushes.ledger_seal(v_last, v_ids, sha256(v_last::text::bytea), sha256('previous'), rushes.rushes_now(), 'k', decode(repeat('00', 64), 'hex'));
		perform rushes.ledger_published(v_last);
	end loop;
	return v_last;
end $$;

-- A batch as it stands at the ledger target.
create function simulation.batch(p_batch bigint) returns jsonb language sql as $$
	select jsonb_build_object('root', encode(b.root, 'hex'), 'previous', encode(b.previous, 'hex'), 'at', b.at,
		'texts', (select jsonb_agg(t.text) from rushes.ledger_batch_texts(b.id) t))
	from rushes.ledger_batch b where b.id = p_batch
$$;

create function simulation.import(p_batch bigint, p jsonb) returns integer language sql as $$
	select rushes.restore_import(p_batch, decode(p->>'root', 'hex'), decode(p->>'previous', 'hex'), (p->>'at')::timestamptz, 'k',
		decode(repeat('00', 64), 'hex'), p->'texts', false)
$$;

-- Everything that the ledger says is known to the judge.
create function simulation.seen_all() returns bigint language sql as $$
	update simulation.seen set ledger = (select coalesce(max(id), 0) from rushes.ledger) returning ledger
$$;

-- Whether a sweep is refused, by the class of its refusal.
create function simulation.refusal() returns text language plpgsql as $$
begin
	perform rushes.sweep_decide('janitor', 1);
	return 'accepted';
exception when others then
	return sqlstate;
end $$;

create function simulation.ms(p timestamptz) returns bigint language sql immutable
	as $$ select case when p < 'infinity' then round(extract(epoch from p) * 1000)::bigint end $$;

-- What the database knows of one recording.
create function simulation.facts(r rushes.recording) returns jsonb language sql stable as $$
	select jsonb_build_object('id', r.id, 'state', r.state, 'held', r.held, 'sent', r.sent_at is not null,
		'saved', simulation.ms(r.saved_at), 'copied', simulation.ms(r.copied_at), 'processed', simulation.ms(r.processed_at),
		'lastByte', simulation.ms(r.last_byte_at),
		'copies', (select coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'kind', coalesce(c.kind, 'raw'), 'segment', c.segment,
				'target', c.target, 'state', c.state)), '[]') from rushes.copy c where c.recording = r.id and c.state <> 'incoming'),
		'files', (select coalesce(jsonb_agg(jsonb_build_object('kind', f.kind, 'at', simulation.ms(f.made_at))), '[]')
			  from rushes.file f where f.recording = r.id),
		'pushes', (select coalesce(jsonb_agg(jsonb_build_object('kind', p.file_kind, 'target', p.target, 'state', p.state,
				'at', simulation.ms(p.at))), '[]') from rushes.push p where p.recording = r.id),
		'jobs', (select coalesce(jsonb_agg(distinct j.kind), '[]') from rushes.job j where j.recording = r.id and j.kind <> 'delete'))
$$;

-- The same of all that is not deleted, of the accounts, of pauses and of links.
create function simulation.world() returns jsonb language sql stable as $$
	select jsonb_build_object(
		'recordings', (select coalesce(jsonb_agg(simulation.facts(r)), '[]') from rushes.recording r where r.state <> 'deleted'),
		'accounts', (select jsonb_agg(jsonb_build_object('id', a.id, 'plan', a.plan,
				'expires', simulation.ms(case when a.plan = 'trial' then a.trial_ends_at else a.paid_until end),
				'closed', simulation.ms(a.closed_at))) from rushes.account a),
		'environments', (select jsonb_agg(jsonb_build_object('id', e.id, 'backup', e.backup, 'doNotStore', e.do_not_store,
				'playbackWindow', extract(epoch from e.playback_window) * 1000, 'reconnectWindow', extract(epoch from e.reconnect_window) * 1000,
				'pushes', array['main'] || case when e.push_raw then array['raw'] else '{}' end
					|| case when e.push_snapshot then array['snapshot'] else '{}' end
					|| case when e.push_filmstrip then array['filmstrip'] else '{}' end,
				'rules', (select coalesce(jsonb_agg(jsonb_build_object('name', l.name, 'days', l.age_days, 'recordingKind', l.recording_kind,
						'fileKind', l.file_kind, 'enabled', l.enabled)), '[]') from rushes.lifecycle_rule l where l.environment = e.id)))
				from rushes.environment e),
		'pauses', (select coalesce(jsonb_agg(jsonb_build_object('rule', p.rule, 'place', p.place, 'confirmed', simulation.ms(p.confirmed_at))), '[]')
			   from rushes.retention_pause p),
		'links', (select coalesce(jsonb_agg(simulation.ms(l.expires_at) order by l.expires_at), '[]') from rushes.link l))
$$;
`;

export class Disaster {
	counts = { restores: 0, undone: 0, deletedAgain: 0, knownAgain: 0 };

	constructor({ db, judge, world, ours, random }) {
		Object.assign(this, { db, judge, world, ours, random });
	}

	/** A backup is made now; some time later the database is lost, and is restored to this moment. */
	async backup(agenda) {
		await this.#send(["simulation.seal"]);
		await this.db.backup();
		agenda.add(this.judge.now + this.random.between(10, REACH / MINUTE) * MINUTE, () => this.#restore());
	}

	/** One call, past the judge. */
	async #send(...calls) {
		const lines = await this.db.step(this.judge.now, calls);
		return lines.at(-1);
	}

	async #restore() {
		const { db, judge } = this;
		this.counts.restores++;
		await judge.step([]);
		const last = Number(await this.#send(["simulation.seal"]));
		const batches = [];
		const first = Number((await db.backedUp("select coalesce(max(id), 0) + 1 from rushes.ledger_batch")).trim());
		for (let i = first; i <= last; i++) batches.push([i, await this.#send(["simulation.batch", i])]);
		await db.restore();
		const gate = await this.#send(["rushes.service_gate"]);
		if (!gate.startsWith("(restoring")) throw new Error(`a database that was put back says: ${gate}`);
		if ((await this.#send(["simulation.refusal"])) !== "RU006") throw new Error("a sweep works in a database that was put back");
		await this.#reconcile(batches, last);
		await this.#compare(JSON.parse(await this.#send(["simulation.world"])));
	}

	/** As rushesctl does it. */
	async #reconcile(batches, last) {
		await this.#send(["rushes.restore_target", last]);
		for (const [number, text] of batches) await this.#send(["simulation.import", number, JSON.parse(text)]);
		while (Number(await this.#send(["rushes.restore_apply", 500])) > 0);
		const files = { ingest: [], work: [] };
		for (const c of this.judge.copies.values()) if (!c.gone) files[c.where]?.push([c.id, c.recording.id, 100]);
		let isSilent = false;
		for (const [what, service, node] of NODES) {
			if (this.judge.isDown(what)) isSilent = true;
			else await this.#send(["rushes.restore_report", node, "eu1", service, "https://localhost:1", { sql: `'${JSON.stringify(files[service === "ingest" ? "ingest" : "work"])}'::jsonb` }, true, true]);
		}
		await this.#send(["rushes.restore_open", "person", isSilent, "the database was lost"]);
		await this.db.send("update rushes.node set beat_at = 'infinity';");
		await this.#send(["simulation.seen_all"]);
	}

	/** What the database knows now, against what was so before it was lost. */
	async #compare({ recordings, accounts, environments, pauses, links }) {
		const { judge, world } = this;
		const known = new Map(recordings.map((facts) => [facts.id, facts]));
		this.#accounts(new Map(accounts.map((a) => [a.id, a])), new Map(environments.map((e) => [e.id, e])));
		for (const id of known.keys()) if (!judge.recordings.has(id)) judge.count("left", { id }, "a removed recording is back after a restore");
		for (const r of [...judge.recordings.values()]) {
			const facts = known.get(r.id);
			if (facts) this.#recording(r, facts);
			else if (r.deletion) await this.#removed(r);
			else await this.#vanished(r);
		}
		for (const r of judge.recordings.values()) r.replacedAt = null;
		for (const r of judge.recordings.values()) if (r.replaces && r.processedAt !== null && !r.isComplete) r.replaces.replacedAt = r.processedAt;
		judge.restored(pauses, links);
		for (const r of judge.recordings.values()) {
			judge.plan(r);
			if (!r.deletion) world.resume(r);
		}
	}

	#accounts(known, environments) {
		const { judge, world } = this;
		for (const account of [...world.accounts]) {
			const facts = known.get(account.id);
			if (!facts) {
				world.forgetAccount(account);
				continue;
			}
			if (account.closedAt !== null && facts.closed === null) judge.count("left", account, "a closed account is open after a restore");
			if (facts.plan !== account.plan || facts.expires !== account.expires) {
				Object.assign(account, { plan: facts.plan, expires: facts.expires });
				world.renewAgain(account);
			}
			for (const e of account.environments) {
				const { rules, pushes, ...settings } = environments.get(e.id);
				Object.assign(e, settings, { pushes: new Set(pushes), rules: new Map(rules.map(({ name, ...rule }) => [name, rule])) });
			}
		}
	}

	#recording(r, facts) {
		const { judge } = this;
		const isGoing = facts.state === "deleting";
		if (r.deletion && !isGoing) judge.count("left", r, `its deletion by ${r.deletion.rule} is undone by a restore`);
		if (!r.deletion && isGoing) judge.count("early", r, "a restore deletes it");
		if (!r.deletion && r.held !== facts.held) judge.count(r.held ? "early" : "late", r, `a restore changes its hold to ${facts.held}`);
		if (r.deletion) this.counts.deletedAgain++;
		const had = r.copies.some((c) => !c.gone && !c.isLost && c.decidedAt === null);
		this.#copies(r, facts);
		if (had && !isGoing && r.copies.every((c) => c.gone)) judge.count("early", r, "nothing is left of it after a restore");
		if (r.savedAt !== facts.saved || r.processedAt !== facts.processed) this.counts.undone++;
		Object.assign(r, {
			savedAt: facts.saved,
			copiedAt: facts.copied,
			processedAt: facts.processed,
			lastByteAt: facts.lastByte,
			sent: facts.state === "open" ? r.sent : facts.sent,
			failed: { "failed-copy": "copy", "failed-conversion": "convert" }[facts.state] ?? null,
			copying: facts.state === "open" || facts.jobs.includes("copy"),
			converting: facts.jobs.includes("convert"),
			files: new Map(facts.files.map(({ kind, at }) => [kind, at])),
			pushes: new Map(facts.pushes.map(({ kind, target, state, at }) => [`${kind}/${target}`, { kind, state, at, owner: target === this.ours ? "ours" : "client" }])),
		});
	}

	#copies(r, facts) {
		const { judge } = this;
		const rows = new Map(facts.copies.map((c) => [c.id, c]));
		for (const c of [...r.copies]) {
			const row = rows.get(c.id);
			if (c.gone && row) judge.count("left", r, `${c.where} ${c.kind}: it was gone and is ${row.state} after a restore`);
			if (c.gone) continue;
			if (!row) {
				// it came after the moment that was restored: its file stays, until the work that is done again overwrites it
				r.copies.splice(r.copies.indexOf(c), 1);
				judge.copies.delete(c.id);
				continue;
			}
			if (row.state === "going") {
				if (c.decidedAt === null && !r.deletion && !(due(r, c)?.at <= judge.now)) judge.count("early", r, `${c.where} ${c.kind}: a restore takes it`);
				c.decidedAt ??= judge.now;
			} else c.decidedAt = null;
			c.isLost = row.state === "lost";
		}
		for (const { id, kind, segment, target, state } of rows.values()) {
			if (judge.copies.has(id)) continue;
			this.counts.knownAgain++;
			const where = target !== null ? (target === this.ours ? "ours" : "client") : segment !== null ? "ingest" : "work";
			const copy = { id, kind, target, where, recording: r, decidedAt: state === "going" ? judge.now : null, gone: false, isLost: state === "lost" };
			judge.copies.set(id, copy);
			r.copies.push(copy);
		}
	}

	/** Its row is a tombstone, or it began after the moment that was restored: then spools learn from the ledger that its files
	 *  go, and an object at a target is a finding. */
	async #removed(r) {
		for (const c of r.copies.filter(({ gone }) => !gone)) {
			if (c.target === null) {
				const fate = await this.#fate(r, c);
				if (fate !== "gone") this.judge.count("left", r, `${c.where} ${c.kind}: the file of a removed recording is ${fate} after a restore`);
			}
			c.gone = true;
		}
		r.isComplete = true;
	}

	#fate = (r, c) => this.#send(["rushes.file_fate", c.where === "ingest" ? INGEST : TRANSCODER, c.id, r.id]);

	/** It began after the moment that was restored: nobody knows of it, and its files stay on their spools. */
	async #vanished(r) {
		for (const c of r.copies.filter(({ gone, where, decidedAt }) => !gone && decidedAt === null && (where === "ingest" || where === "work"))) {
			const fate = await this.#fate(r, c);
			if (fate !== "lost-row") this.judge.count("early", r, `${c.where} ${c.kind}: the file of a lost row is ${fate}`);
		}
		this.counts.undone++;
		this.world.vanish(r);
	}
}
