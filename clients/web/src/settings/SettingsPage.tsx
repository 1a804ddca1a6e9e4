import { signOut } from "@/auth/session";
import { Button } from "@/ui/Button";

/** The account and its wishes. */
export default function SettingsPage() {
  return (
    <div className="page">
      <h1>Settings</h1>
      <Button onClick={() => void signOut().catch(() => undefined)}>Sign out</Button>
    </div>
  );
}
