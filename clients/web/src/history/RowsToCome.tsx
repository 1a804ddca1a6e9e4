import { Skeleton } from "@/ui/Skeleton";

import "./rows-to-come.css";

const WIDTHS = [
  ["9rem", "86%"],
  ["11rem", "64%"],
  ["7rem", "78%"],
] as const;

/** Where rows of a list will be. */
export function RowsToCome({ rows }: { readonly rows: number }) {
  return (
    <div className="rows-to-come">
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} widths={WIDTHS[i % WIDTHS.length] ?? []} />
      ))}
    </div>
  );
}
