import { useId } from "react";

import { IconButton } from "@/ui/Button";
import { Icon } from "@/ui/Icon";

import "./search-box.css";

/** Where words to look for are typed. Escape or the cross clears it. */
export function SearchBox({
  value,
  onChange,
  onEnter,
}: {
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly onEnter: () => void;
}) {
  const id = useId();
  return (
    <form
      role="search"
      className="search-box"
      onSubmit={(event) => {
        event.preventDefault();
        onEnter();
      }}
    >
      <label htmlFor={id} className="unseen">
        Search in what was said
      </label>
      <Icon name="search" />
      <input
        id={id}
        type="text"
        inputMode="search"
        enterKeyHint="search"
        autoComplete="off"
        maxLength={200}
        placeholder="Search in what was said"
        value={value}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" && value) {
            event.preventDefault();
            onChange("");
          }
        }}
      />
      {value && <IconButton icon="close" label="Clear the search" onClick={() => onChange("")} />}
    </form>
  );
}
