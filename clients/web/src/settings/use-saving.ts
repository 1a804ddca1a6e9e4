import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AccountSchema } from "@parley/stubs/parley/user/v1/user_pb";
import { useCallback, useEffect, useRef, useState } from "react";

import { keepAccount } from "@/auth/session";
import { users } from "@/rpc/clients";
import { type Problem, problemFromError } from "@/rpc/problem";

// Long enough to be noticed, short enough not to look like a label.
const SAID_MS = 4_000;

/** Where saving stands. */
export interface Saving {
  readonly busy: boolean;
  /** True for a moment after something was saved. */
  readonly saved: boolean;
  readonly problem: Problem | null;
  /** Changes the fields of the account that `paths` names; true when that is done. */
  readonly save: (
    account: MessageInitShape<typeof AccountSchema>,
    paths: readonly string[],
  ) => Promise<boolean>;
}

/** Changes the account at the server, and keeps what it answers. One change after another. */
export function useSaving(): Saving {
  const [busy, setBusy] = useState(false);
  const [saved, setSaved] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const last = useRef<Promise<unknown>>(Promise.resolve());
  const open = useRef(0);
  useEffect(() => {
    if (!saved) return;
    const timer = setTimeout(() => setSaved(false), SAID_MS);
    return () => clearTimeout(timer);
  }, [saved]);
  const save = useCallback(
    async (account: MessageInitShape<typeof AccountSchema>, paths: readonly string[]) => {
      open.current += 1;
      setBusy(true);
      setSaved(false);
      // Two quick changes arrive in their order: the later one is what stays.
      const turn = last.current.then(() =>
        users.updateProfile({ account, updateMask: { paths: [...paths] } }),
      );
      last.current = turn.catch(() => undefined);
      try {
        const response = await turn;
        setProblem(null);
        setSaved(true);
        if (open.current === 1) keepAccount(response.account);
        return true;
      } catch (error) {
        setProblem(problemFromError(error));
        return false;
      } finally {
        open.current -= 1;
        if (open.current === 0) setBusy(false);
      }
    },
    [],
  );
  return { busy, saved, problem, save };
}
