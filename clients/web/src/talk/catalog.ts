/** What there is to choose from: read anew where it is shown, and shown at once as it was last read. */

import type { EngineInfo, Voice } from "@parley/stubs/parley/ai/v1/ai_pb";
import { CefrLevel } from "@parley/stubs/parley/types/v1/learner_pb";
import type { Scenario } from "@parley/stubs/parley/types/v1/scenario_pb";

import { access, ai, conversations } from "@/rpc/clients";
import { type Call, useCall } from "@/rpc/use-call";

/** Situations, engines and voices. */
export interface Catalog {
  readonly scenarios: readonly Scenario[];
  readonly engines: readonly EngineInfo[];
  readonly voices: readonly Voice[];
}

let known: Catalog | undefined;

/** The catalog, for components. */
export function useCatalog(): Call<Catalog> {
  const call = useCall("catalog", readCatalog);
  return { ...call, value: call.value ?? known };
}

/** Forgets it: the next one who signs in may have other tutors. */
export function forgetCatalog(): void {
  known = undefined;
}

access.subscribe(() => {
  if (access.state === "signed-out") forgetCatalog();
});

/** Reads it. Without engines and voices it is still good: the server then chooses. */
async function readCatalog(signal: AbortSignal): Promise<Catalog> {
  const [scenarios, engines, voices] = await Promise.all([
    conversations.listScenarios({}, { signal }),
    ai.listEngines({}, { signal }).catch(() => ({ engines: [] })),
    ai.listVoices({}, { signal }).catch(() => ({ voices: [] })),
  ]);
  known = { scenarios: scenarios.scenarios, engines: engines.engines, voices: voices.voices };
  return known;
}

const LEVELS: Partial<Record<CefrLevel, string>> = {
  [CefrLevel.A1]: "A1 Beginner",
  [CefrLevel.A2]: "A2 Elementary",
  [CefrLevel.B1]: "B1 Intermediate",
  [CefrLevel.B2]: "B2 Upper intermediate",
  [CefrLevel.C1]: "C1 Advanced",
  [CefrLevel.C2]: "C2 Proficient",
};

/** A level as learners know it; empty where there is none. */
export function levelName(level: CefrLevel): string {
  return LEVELS[level] ?? "";
}

/** The voices that an engine can use; all of them where none is named. */
export function voicesOf(catalog: Catalog, engine: string): readonly Voice[] {
  const name = engine || catalog.engines.find((each) => each.default)?.name;
  if (!name) return catalog.voices;
  return catalog.voices.filter((each) => each.engines.length === 0 || each.engines.includes(name));
}
