import { Link } from "wouter";

import { Icon } from "@/ui/Icon";

import "./nothing-yet.css";

/** Before the first conversation: what will be here, and the way to it. */
export function NothingYet() {
  return (
    <div className="nothing-yet">
      <h2>Your first talk will be here.</h2>
      <p>Five minutes are enough. Afterwards you find here:</p>
      <ul className="nothing-yet-list">
        <li>
          <Icon name="chat" />
          every word that you and the tutor said, to read and to search
        </li>
        <li>
          <Icon name="play" />
          the recording, with the words lighting up as they are spoken
        </li>
        <li>
          <Icon name="bulb" />
          small notes on what you could say another way
        </li>
      </ul>
      <Link href="/" className="button button-primary">
        Start a talk
        <Icon name="arrow-right" />
      </Link>
    </div>
  );
}
