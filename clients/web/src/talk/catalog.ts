/** What there is to choose from, read once a visit. */

import type { EngineInfo, Voice } from "@parley/stubs/parley/ai/v1/ai_pb";
import { CefrLevel } from "@parley/stubs/parley/types/v1/learner_pb";
import type { Scenario } from "@parley/stubs/parley/types/v1/scenario_pb";

import { ai, conversations } from "@/rpc/clients";

/** Situations, engines and voices. */
export interface Catalog {
  readonly scenarios: readonly Scenario[];
  readonly engines: readonly EngineInfo[];
  readonly voices: readonly Voice[];
}

/** Reads the catalog. Without engines and voices it is still good: the server then chooses. */
export async function readCatalog(signal: AbortSignal): Promise<Catalog> {
  const [scenarios, engines, voices] = await Promise.all([
    conversations.listScenarios({}, { signal }),
    ai.listEngines({}, { signal }).catch(() => ({ engines: [] })),
    ai.listVoices({}, { signal }).catch(() => ({ voices: [] })),
  ]);
  return { scenarios: scenarios.scenarios, engines: engines.engines, voices: voices.voices };
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
