/** Talking. */
export function TalkPage() {
  return (
    <div className="page">
      <h1>Talk</h1>
    </div>
  );
}
