import { useEffect, useState } from "react";

import { microphones } from "@/audio/microphone";
import { SelectField } from "@/ui/Field";

/** Which of this device's microphones hears the learner. */
export function MicrophoneField({
  chosen,
  onChoose,
}: {
  /** Empty: the system's choice. */
  readonly chosen: string;
  readonly onChoose: (deviceId: string) => void;
}) {
  const devices = useMicrophones();
  return (
    <SelectField
      label="Microphone"
      hint={
        devices.some((each) => each.label)
          ? undefined
          : "Your browser tells their names after your first talk."
      }
      value={chosen}
      onChange={(event) => onChoose(event.target.value)}
    >
      <option value="">The system’s choice</option>
      {devices.map((each, i) => (
        <option key={each.deviceId} value={each.deviceId}>
          {each.label || `Microphone ${i + 1}`}
        </option>
      ))}
    </SelectField>
  );
}

/** What is plugged in now: read again whenever that changes. */
function useMicrophones(): readonly MediaDeviceInfo[] {
  const [devices, setDevices] = useState<readonly MediaDeviceInfo[]>([]);
  useEffect(() => {
    let gone = false;
    const read = () => {
      microphones().then(
        (found) => {
          if (!gone) setDevices(found);
        },
        () => undefined,
      );
    };
    read();
    // Absent where the page came over plain HTTP from another machine.
    const media = navigator.mediaDevices as MediaDevices | undefined;
    media?.addEventListener("devicechange", read);
    return () => {
      gone = true;
      media?.removeEventListener("devicechange", read);
    };
  }, []);
  return devices;
}
